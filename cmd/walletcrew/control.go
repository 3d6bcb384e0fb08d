package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

// A platform is the platform in memory behind one address: the management API at /api/, and the control API at /_control/, for tests in
// any language.
type platform struct {
	*walletcrewtest.Server
	*server // its URL is the one that others call
}

// newPlatform starts one. It ends with close.
func newPlatform(ctx context.Context, addr string, near bool, opts ...walletcrewtest.Option) (*platform, error) {
	p := &platform{Server: walletcrewtest.NewServer(opts...)}
	target, err := url.Parse(p.Server.URL)
	if err != nil {
		return nil, err
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		// Each request has a connection of its own: on one that was used before, a fault that drops it would be hidden by a second try.
		Transport:    &http.Transport{DisableKeepAlives: true, DisableCompression: true},
		ErrorLog:     log.New(io.Discard, "", 0),
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }, // it was dropped: so is this one
	}
	mux := http.NewServeMux()
	mux.Handle("/", proxy)
	mux.Handle("/_control/", http.NewCrossOriginProtection().Handler(p.control())) // no page of a browser may use it
	var handler http.Handler = mux
	if host, _, err := net.SplitHostPort(addr); err == nil && isLocalHost(host) {
		handler = onlyHere(mux)
	}
	if p.server, err = serve(ctx, addr, near, handler); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func (p *platform) url() string { return p.server.URL }

func (p *platform) close() {
	p.Close()
	p.server.close()
}

// An emission asks for an event.
type emission struct {
	Event string          `json:"event"`
	Data  json.RawMessage `json:"data"` // the members of the body, which gets an "__id" if there is none; not there: a sample
	Body  *string         `json:"body"` // the body itself, byte for byte, instead of data
	Count int             `json:"count"`
}

// An emitted is one delivery of the answer.
type emitted struct {
	WebhookID string `json:"webhookId"`
	EventID   string `json:"eventId"`
	Event     string `json:"event"`
	Status    int    `json:"status"`
	Error     string `json:"error"`
}

// A fault is a walletcrewtest.Fault for the next calls of the management API.
type fault struct {
	Method     string            `json:"method"`
	DelayMs    int               `json:"delayMs"`
	CarryOut   bool              `json:"carryOut"`
	StatusCode int               `json:"statusCode"`
	Header     map[string]string `json:"header"`
	Body       string            `json:"body"`
	Drop       bool              `json:"drop"`
	Truncate   bool              `json:"truncate"`
	Times      int               `json:"times"` // 0 is 1
}

// A state is what the platform has. No secret is in it: the management API has those.
type state struct {
	Tenant   string         `json:"tenant"`
	Webhooks []webhookView  `json:"webhooks"`
	Requests []stateRequest `json:"requests"`
}

type stateRequest struct {
	Method string `json:"method"`
	URL    string `json:"url"`
	Body   string `json:"body"`
}

func (p *platform) control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_control/health", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /_control/state", func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, p.state(), nil) })
	mux.HandleFunc("POST /_control/emit", func(w http.ResponseWriter, r *http.Request) {
		var e emission
		if !readControl(w, r, &e) {
			return
		}
		deliveries, err := p.emit(r.Context(), e)
		answerJSON(w, map[string]any{"deliveries": deliveries}, err)
	})
	mux.HandleFunc("POST /_control/faults", func(w http.ResponseWriter, r *http.Request) {
		var list []fault
		if !readControl(w, r, &list) {
			return
		}
		n, err := p.fail(list)
		answerJSON(w, map[string]int{"queued": n}, err)
	})
	return mux
}

func readControl(w http.ResponseWriter, r *http.Request, v any) bool {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 2*maxBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		answerJSON(w, nil, fmt.Errorf("the body: %w", err))
		return false
	}
	return true
}

func (p *platform) emit(ctx context.Context, e emission) ([]emitted, error) {
	if e.Event == "" {
		return nil, usagef(`the member "event" is missing, such as "Pass:Installed"`)
	}
	name := walletcrew.EventName(e.Event)
	list := []emitted{}
	for range max(e.Count, 1) {
		deliveries, err := p.deliver(ctx, name, e)
		if err != nil {
			return nil, err
		}
		for _, d := range deliveries {
			out := emitted{WebhookID: d.WebhookID, EventID: d.EventID, Event: string(d.Name), Status: d.StatusCode}
			if d.Err != nil {
				out.Error = plainError(d.Err).Error()
			}
			list = append(list, out)
		}
	}
	return list, nil
}

func (p *platform) deliver(ctx context.Context, name walletcrew.EventName, e emission) ([]walletcrewtest.Delivery, error) {
	switch {
	case e.Body != nil:
		return p.Deliver(ctx, name, []byte(*e.Body))
	case len(e.Data) > 0:
		return p.Emit(ctx, name, e.Data)
	}
	return p.Deliver(ctx, name, walletcrewtest.Sample(name))
}

func (p *platform) fail(list []fault) (int, error) {
	var faults []walletcrewtest.Fault
	for _, f := range list {
		if f.StatusCode != 0 && (f.StatusCode < 200 || f.StatusCode > 599) {
			return 0, usagef("statusCode %d is not between 200 and 599", f.StatusCode)
		}
		header := http.Header{}
		for name, value := range f.Header {
			header.Set(name, value)
		}
		for range max(f.Times, 1) {
			faults = append(faults, walletcrewtest.Fault{
				Method: f.Method, Delay: time.Duration(f.DelayMs) * time.Millisecond, CarryOut: f.CarryOut, StatusCode: f.StatusCode,
				Header: header, Body: f.Body, Drop: f.Drop, Truncate: f.Truncate,
			})
		}
	}
	p.Fail(faults...)
	return len(faults), nil
}

func (p *platform) state() state {
	s := state{Tenant: p.TenantID, Webhooks: []webhookView{}, Requests: []stateRequest{}}
	for _, w := range p.Webhooks() {
		s.Webhooks = append(s.Webhooks, view(&w))
	}
	for _, r := range p.Requests() {
		s.Requests = append(s.Requests, stateRequest{r.Method, r.URL, string(r.Body)})
	}
	return s
}
