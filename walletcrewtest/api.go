package walletcrewtest

import (
	"bytes"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
)

// A webhook as the API writes it.
type webhook struct {
	ID              string                 `json:"id"`
	Description     *string                `json:"description"` // null where there is none
	Endpoint        string                 `json:"endpoint"`
	Events          []walletcrew.EventName `json:"events"`
	Enabled         bool                   `json:"enabled"`
	SignatureSecret string                 `json:"signatureSecret"` // not a walletcrew.Secret, which JSON writes as "[redacted]"

	number int // in order of creation
}

func (w *webhook) public() walletcrew.Webhook {
	p := walletcrew.Webhook{
		ID: w.ID, Endpoint: w.Endpoint, Events: slices.Clone(w.Events), Enabled: w.Enabled,
		SignatureSecret: walletcrew.Secret(w.SignatureSecret),
	}
	if w.Description != nil {
		p.Description = *w.Description
	}
	return p
}

const (
	scopeRead  = "Webhook.Read"
	scopeWrite = "Webhook.Write"

	headerAPIKey       = "X-Api-Key" //nolint:gosec // a header's name
	headerContinuation = "X-Continuationtoken"

	maxRequestBytes = 1 << 20
)

// An answer is made as a whole before any of it is sent, so that a fault can replace it or cut it off.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// handle carries a request out.
func (s *Server) handle(r *http.Request, body []byte) answer {
	if !s.authenticated(r) {
		return problem(r, http.StatusUnauthorized, "The API key is missing, invalid or revoked.")
	}
	tenant, id, ok := resource(r.URL)
	switch {
	case !ok:
		return problem(r, http.StatusNotFound, "There is no such resource.")
	case tenant != s.TenantID: // whether the platform says 404 or 403 to another tenant's key isn't documented
		return problem(r, http.StatusNotFound, "There is no such tenant.")
	}

	allowed, scope := []string{http.MethodGet, http.MethodPost}, scopeWrite
	if id != "" {
		allowed = []string{http.MethodGet, http.MethodPatch, http.MethodDelete}
	}
	if r.Method == http.MethodGet {
		scope = scopeRead
	}
	switch {
	case !slices.Contains(allowed, r.Method):
		a := problem(r, http.StatusMethodNotAllowed, "The resource doesn't know this method.")
		a.header.Set("Allow", strings.Join(allowed, ", "))
		return a
	case !slices.Contains(s.scopes, scope):
		return problem(r, http.StatusForbidden, "The API key lacks the scope "+scope+".")
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	switch r.Method {
	case http.MethodPost:
		return s.create(r, body)
	case http.MethodPatch:
		return s.patch(r, id, body)
	case http.MethodDelete:
		return s.delete(r, id)
	}
	if id == "" {
		return s.list(r)
	}
	return s.get(r, id)
}

func (s *Server) authenticated(r *http.Request) bool {
	if key := r.Header.Get(headerAPIKey); key != "" {
		return subtle.ConstantTimeCompare([]byte(key), []byte(s.APIKey)) == 1
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return ok && s.bearerToken != "" && subtle.ConstantTimeCompare([]byte(token), []byte(s.bearerToken)) == 1
}

// resource takes /api/{tenantId}/webhooks and /api/{tenantId}/webhooks/{id} apart; id is "" for the first.
func resource(u *url.URL) (tenant, id string, ok bool) {
	elements := strings.Split(u.EscapedPath(), "/")
	for i := range elements {
		element, err := url.PathUnescape(elements[i])
		if err != nil {
			return "", "", false
		}
		elements[i] = element
	}
	switch {
	case len(elements) < 4 || elements[0] != "" || elements[1] != "api" || elements[3] != "webhooks":
		return "", "", false
	case len(elements) == 4:
		return elements[2], "", true
	case len(elements) == 5 && elements[4] != "":
		return elements[2], elements[4], true
	}
	return "", "", false
}

func (s *Server) create(r *http.Request, body []byte) answer {
	members, refusal := decodeMembers(r, body)
	if refusal != nil {
		return *refusal
	}
	w := webhook{Enabled: true} // the default isn't documented
	invalid := s.set(&w, members)
	for _, name := range []string{"endpoint", "events"} {
		if _, ok := members[name]; !ok {
			invalid[name] = []string{"The member " + name + " is required."}
		}
	}
	if len(invalid) > 0 {
		return validationProblem(r, invalid)
	}
	w.ID, w.SignatureSecret = randomText(5), s.nextSecret()
	for s.index(w.ID) >= 0 {
		w.ID = randomText(5)
	}
	s.created++
	w.number = s.created
	s.webhooks = append(s.webhooks, w)
	return ok(w)
}

// list returns all webhooks, or one page. A token names the last webhook of the page before, so that one that is deleted
// meanwhile neither hides another nor shows it twice.
func (s *Server) list(r *http.Request) answer {
	page := s.webhooks
	if s.pageSize <= 0 {
		return ok(append([]webhook{}, page...))
	}
	if token := r.URL.Query().Get("continuationToken"); token != "" {
		last, err := decodeToken(token)
		if err != nil {
			return validationProblem(r, map[string][]string{"continuationToken": {"The token is not one of this list."}})
		}
		first := slices.IndexFunc(page, func(w webhook) bool { return w.number > last })
		if first < 0 {
			first = len(page)
		}
		page = page[first:]
	}
	if len(page) <= s.pageSize {
		return ok(append([]webhook{}, page...))
	}
	page = page[:s.pageSize]
	a := ok(page)
	a.header.Set(headerContinuation, encodeToken(page[len(page)-1].number))
	return a
}

// A token is opaque, and has a character that must be escaped in a query.
func encodeToken(number int) string {
	return base64.StdEncoding.EncodeToString([]byte(fmt.Sprintf("%04d", number)))
}

func decodeToken(token string) (int, error) {
	text, err := base64.StdEncoding.DecodeString(token)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(text))
}

func (s *Server) get(r *http.Request, id string) answer {
	i := s.index(id)
	if i < 0 {
		return notFound(r)
	}
	return ok(s.webhooks[i])
}

func (s *Server) patch(r *http.Request, id string, body []byte) answer {
	i := s.index(id)
	if i < 0 {
		return notFound(r)
	}
	members, refusal := decodeMembers(r, body)
	if refusal != nil {
		return *refusal
	}
	w := s.webhooks[i]
	if invalid := s.set(&w, members); len(invalid) > 0 {
		return validationProblem(r, invalid)
	}
	s.webhooks[i] = w
	return s.patchAnswer.of(w)
}

func (s *Server) delete(r *http.Request, id string) answer {
	i := s.index(id)
	if i < 0 {
		return notFound(r)
	}
	w := s.webhooks[i]
	s.webhooks = slices.Delete(s.webhooks, i, i+1)
	return s.deleteAnswer.of(w)
}

func (s *Server) index(id string) int {
	return slices.IndexFunc(s.webhooks, func(w webhook) bool { return w.ID == id })
}

// set takes over the members that can be set, and returns what is wrong with them. Others are ignored, id and signatureSecret
// among them.
func (s *Server) set(w *webhook, members map[string]json.RawMessage) (invalid map[string][]string) {
	invalid = map[string][]string{}
	for name, value := range members {
		message := ""
		switch name {
		case "endpoint":
			message = "The endpoint must be an absolute URI, https (or http on a loopback host)."
			if decode(value, &w.Endpoint) && s.validEndpoint(w.Endpoint) {
				message = ""
			}
		case "events":
			w.Events = nil // not the array of the webhook as it was
			message = "The events must be an array of at least one name, none of them empty."
			if decode(value, &w.Events) && len(w.Events) > 0 && !slices.Contains(w.Events, "") {
				message = ""
			}
		case "description":
			w.Description = nil
			if json.Unmarshal(value, &w.Description) != nil {
				message = "The description must be a string or null."
			}
		case "enabled":
			if !decode(value, &w.Enabled) {
				message = "The member enabled must be true or false."
			}
		}
		if message != "" {
			invalid[name] = []string{message}
		}
	}
	return invalid
}

// decode is json.Unmarshal without null.
func decode(value json.RawMessage, v any) bool {
	return !bytes.Equal(value, []byte("null")) && json.Unmarshal(value, v) == nil
}

func (s *Server) validEndpoint(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil || u.Hostname() == "" {
		return false
	}
	return u.Scheme == "https" || u.Scheme == "http" && (s.plainHTTP || isLoopback(u.Hostname()))
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// decodeMembers returns the members of the request's body, or the answer to a body that has none.
func decodeMembers(r *http.Request, body []byte) (map[string]json.RawMessage, *answer) {
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || mediaType != "application/json" {
		a := problem(r, http.StatusBadRequest, "The content type must be application/json.")
		return nil, &a
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil || members == nil {
		a := validationProblem(r, map[string][]string{"$": {"The body must be a JSON object."}})
		return nil, &a
	}
	return members, nil
}

func ok(v any) answer {
	return jsonAnswer(http.StatusOK, "application/json; charset=utf-8", v)
}

func (a Answer) of(w webhook) answer {
	switch a {
	case AnswerEmpty:
		return answer{status: http.StatusOK, header: http.Header{}}
	case AnswerNoContent:
		return answer{status: http.StatusNoContent, header: http.Header{}}
	default:
		return ok(w)
	}
}

// problemDetails are those of RFC 9457.
type problemDetails struct {
	Type     string              `json:"type"`
	Title    string              `json:"title"`
	Status   int                 `json:"status"`
	Detail   string              `json:"detail,omitempty"`
	Instance string              `json:"instance"`
	Errors   map[string][]string `json:"errors,omitempty"`
}

func problem(r *http.Request, status int, detail string) answer {
	return jsonAnswer(status, "application/problem+json", problemDetails{
		Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail, Instance: r.URL.EscapedPath(),
	})
}

func notFound(r *http.Request) answer {
	return problem(r, http.StatusNotFound, "There is no such webhook.")
}

func validationProblem(r *http.Request, invalid map[string][]string) answer {
	return jsonAnswer(http.StatusBadRequest, "application/problem+json", problemDetails{
		Type: "about:blank", Title: "One or more validation errors occurred.", Status: http.StatusBadRequest,
		Instance: r.URL.EscapedPath(), Errors: invalid,
	})
}

func jsonAnswer(status int, contentType string, v any) answer {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // our own types always can be written
	}
	return answer{status: status, header: http.Header{"Content-Type": {contentType}}, body: body}
}

// serve reads a request, applies the fault whose turn it is, and writes the answer.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequestBytes))
	if err != nil {
		problem(r, http.StatusBadRequest, "The body can't be read, or is over 1 MiB.").write(w, false)
		return
	}
	f := s.arrived(r, body)

	var a answer
	if f.CarryOut {
		a = s.handle(r, body)
	}
	if !s.wait(r.Context(), f.Delay) {
		panic(http.ErrAbortHandler) // nobody waits for the answer
	}
	switch {
	case f.Drop:
		panic(http.ErrAbortHandler) // net/http closes the connection and logs nothing
	case f.StatusCode != 0:
		a = f.answer()
	default:
		if !f.CarryOut {
			a = s.handle(r, body)
		}
		for name, values := range f.Header {
			a.header[http.CanonicalHeaderKey(name)] = values
		}
	}
	a.write(w, f.Truncate)
}

// write sends the answer; truncated, the connection ends in the middle of the body.
func (a answer) write(w http.ResponseWriter, truncate bool) {
	if truncate && len(a.body) == 0 {
		panic(http.ErrAbortHandler)
	}
	maps.Copy(w.Header(), a.header)
	if len(a.body) > 0 {
		w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	}
	w.WriteHeader(a.status)
	if truncate {
		_, _ = w.Write(a.body[:len(a.body)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(a.body)
}
