package inspector

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

const maxSend = 8 << 20 // bytes of a request to send: a body in JSON

func (i *Inspector) withRecord(f func(w http.ResponseWriter, r *http.Request, e *entry)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		e := i.store.get(r.PathValue("id"))
		if e == nil {
			fail(w, http.StatusNotFound, "this delivery is not in memory any more: only the latest are kept")
			return
		}
		f(w, r, e)
	}
}

// detail is all that the page shows of one delivery.
type detail struct {
	item
	Findings   []string    `json:"findings"`
	Headers    [][2]string `json:"headers"`
	Body       string      `json:"body"`           // if it is text
	BodyBase64 []byte      `json:"bodyBase64"`     // if it isn't
	Same       []item      `json:"same,omitempty"` // other deliveries with this __id, the oldest first, at most maxSame
	ForwardURL string      `json:"forwardUrl"`
	Answer     string      `json:"answer"`
	Error      string      `json:"error"`
	Omitted    bool        `json:"omitted"`
}

const maxSame = 20

func (i *Inspector) serveRecord(w http.ResponseWriter, _ *http.Request, e *entry) {
	hide := i.hider()
	d := detail{
		item: newItem(e, hide), Headers: i.headers(e), Omitted: e.Omitted,
		ForwardURL: i.url(e.ForwardURL), Answer: hide(strings.ToValidUTF8(e.Answer, "\uFFFD")), Error: hide(e.Error),
	}
	for _, finding := range e.Findings {
		d.Findings = append(d.Findings, hide(finding))
	}
	if utf8.Valid(e.Body) {
		d.Body = hide(string(e.Body))
	} else {
		d.BodyBase64 = []byte(hide(string(e.Body)))
	}
	if e.EventID != "" {
		for _, other := range i.store.all() {
			if other.EventID == e.EventID && other.seq != e.seq && len(d.Same) < maxSame {
				d.Same = append(d.Same, newItem(other, hide))
			}
		}
	}
	answer(w, d)
}

// headers are in the order of their names, since net/http doesn't keep the order they came in.
func (i *Inspector) headers(e *entry) [][2]string {
	list := [][2]string{}
	for name, values := range e.Header {
		for _, value := range values {
			if hidden[http.CanonicalHeaderKey(name)] {
				value = "[redacted]"
			}
			list = append(list, [2]string{name, i.hide(strings.ToValidUTF8(value, "\uFFFD"))})
		}
	}
	slices.SortStableFunc(list, func(a, b [2]string) int { return cmp.Compare(a[0], b[0]) })
	return list
}

func (i *Inspector) serveSearch(w http.ResponseWriter, r *http.Request) {
	wanted := []byte(strings.ToLower(r.URL.Query().Get("q")))
	seqs := []uint64{}
	for _, e := range i.store.all() {
		if r.Context().Err() != nil {
			return
		}
		if len(wanted) > 0 && bytes.Contains(bytes.ToLower(e.Body), wanted) {
			seqs = append(seqs, e.seq)
		}
	}
	answer(w, map[string]any{"seqs": seqs})
}

func (i *Inspector) serveSample(w http.ResponseWriter, r *http.Request) {
	body := []byte(`{"__id":"` + newID() + `"}`)
	if i.options.Sample != nil {
		body = i.options.Sample(r.URL.Query().Get("event"))
	}
	answer(w, map[string]any{"body": i.hide(string(body))})
}

// act is a button that takes one delivery.
func (i *Inspector) act(action func(ctx context.Context, id string) (string, error)) func(http.ResponseWriter, *http.Request, *entry) {
	return func(w http.ResponseWriter, r *http.Request, e *entry) {
		if e.Omitted {
			fail(w, http.StatusConflict, "this delivery's body was too large to keep")
			return
		}
		id, err := action(r.Context(), e.ID)
		i.done(w, map[string]any{"id": id}, err)
	}
}

func (i *Inspector) serveSend(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Event, Tenant, Body, FromID string
		Sign                        Sign
	}
	if !read(w, r, &in) {
		return
	}
	switch in.Sign {
	case SignRight, SignWrong, SignAbsent:
	default:
		fail(w, http.StatusBadRequest, "sign is one of \"\", \"wrong\" and \"absent\"")
		return
	}
	id, err := i.actions.Send(r.Context(), in.Event, in.Tenant, []byte(in.Body), SendOptions{FromID: in.FromID, Sign: in.Sign})
	i.done(w, map[string]any{"id": id}, err)
}

func (i *Inspector) serveWebhooks(w http.ResponseWriter, r *http.Request) {
	webhooks, err := i.actions.Webhooks(r.Context())
	shown := make([]Webhook, 0, len(webhooks))
	for _, webhook := range webhooks {
		webhook.Endpoint = i.url(webhook.Endpoint)
		webhook.Description = i.hide(webhook.Description)
		shown = append(shown, webhook)
	}
	i.done(w, map[string]any{"webhooks": shown}, err)
}

func (i *Inspector) serveSetEnabled(w http.ResponseWriter, r *http.Request) {
	if i.options.Mode != Dev {
		fail(w, http.StatusForbidden, "webhooks of the real platform are switched with `walletcrew webhooks update`")
		return
	}
	var in struct {
		ID      string
		Enabled *bool
	}
	if !read(w, r, &in) {
		return
	}
	if in.ID == "" || in.Enabled == nil {
		fail(w, http.StatusBadRequest, "id and enabled are needed")
		return
	}
	i.done(w, map[string]any{}, i.actions.SetEnabled(r.Context(), in.ID, *in.Enabled))
}

// done answers what an action returned.
func (i *Inspector) done(w http.ResponseWriter, result any, err error) {
	switch {
	case errors.Is(err, context.Canceled): // the page has gone
		return
	case err != nil:
		fail(w, http.StatusUnprocessableEntity, i.hide(err.Error()))
		return
	}
	answer(w, result)
}

func read(w http.ResponseWriter, r *http.Request, into any) bool {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind != "application/json" {
		fail(w, http.StatusUnsupportedMediaType, "the request is not JSON")
		return false
	}
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxSend))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		fail(w, http.StatusRequestEntityTooLarge, "the body is too large to be sent from here")
		return false
	}
	if err != nil {
		fail(w, http.StatusBadRequest, "the request can't be read")
		return false
	}
	return true
}

func answer(w http.ResponseWriter, v any) { write(w, http.StatusOK, v) }

func fail(w http.ResponseWriter, status int, why string) {
	write(w, status, map[string]string{"error": why})
}

func write(w http.ResponseWriter, status int, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		status, text = http.StatusInternalServerError, []byte(`{"error":"the answer can't be written"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(text)
}

// serveBody and serveEvent are downloads.
func (i *Inspector) serveBody(w http.ResponseWriter, _ *http.Request, e *entry) {
	download(w, fileName(e.ID)+".body", []byte(i.hide(string(e.Body))))
}

// serveEvent is a line as `walletcrew listen --record` writes it, and `walletcrew replay` reads.
func (i *Inspector) serveEvent(w http.ResponseWriter, _ *http.Request, e *entry) {
	if !utf8.Valid(e.Body) || e.Omitted {
		fail(w, http.StatusConflict, "the body is not text, and can't be kept as an event")
		return
	}
	line, err := json.Marshal(struct {
		Name       string    `json:"name"`
		TenantID   string    `json:"tenantId"`
		ReceivedAt time.Time `json:"receivedAt"`
		Body       string    `json:"body"`
	}{e.Event, e.Tenant, e.Time, string(e.Body)})
	if err != nil {
		fail(w, http.StatusInternalServerError, "the event can't be written")
		return
	}
	download(w, fileName(e.ID)+".jsonl", []byte(i.hide(string(line))+"\n"))
}

func download(w http.ResponseWriter, name string, content []byte) {
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": name}))
	_, _ = w.Write(content)
}

// fileName keeps letters, digits, - and _ of an ID.
func fileName(id string) string {
	name := strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' {
			return c
		}
		return -1
	}, id)
	return "delivery-" + name[:min(len(name), 60)]
}
