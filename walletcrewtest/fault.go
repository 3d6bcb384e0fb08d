package walletcrewtest

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A Fault makes one request to the API go wrong. The zero Fault lets one request pass; use it to delay the faults after it.
//
// Without StatusCode and Drop, the request is carried out and gets its own answer, perhaps late or truncated. With StatusCode or Drop, it
// isn't carried out, unless CarryOut is set. Then the call is a success, but the client sees a failure.
type Fault struct {
	// Method restricts the fault to requests with this method; "" is any. A request with another
	// method leaves the fault in the queue.
	Method string
	// Delay is the wait before the request is carried out. With CarryOut, it is the wait after
	// that, before the answer. It ends if the client gives up; then a request that wasn't carried
	// out yet never is.
	Delay time.Duration
	// CarryOut carries out the request, whatever the answer is.
	CarryOut bool
	// StatusCode replaces the answer's status, with Body as its body; between 200 and 599.
	StatusCode int
	// Header is set on the answer. If it has no Content-Type, that is guessed from Body.
	Header http.Header
	// Body goes with StatusCode; "" is an empty one.
	Body string
	// Drop closes the connection without an answer. Note that Go's http.Transport then sends a GET
	// again by itself, if it had used the connection before.
	Drop bool
	// Truncate closes the connection in the middle of the answer's body, or before the answer if
	// its body is empty.
	Truncate bool
}

// Fail queues faults, one for each of the next requests to the API. To repeat a fault, use [slices.Repeat]. A request takes the first fault
// in the queue whose Method fits. Requests that are refused, such as for a wrong key, take one, too. Fail panics if a StatusCode isn't
// one that a server can send, 200 to 599.
func (s *Server) Fail(faults ...Fault) {
	for _, f := range faults {
		if f.StatusCode != 0 && (f.StatusCode < 200 || f.StatusCode > 599) {
			panic(fmt.Sprintf("walletcrewtest: Fault.StatusCode %d is not between 200 and 599", f.StatusCode))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, faults...)
}

// arrived records the request and takes its fault out of the queue.
func (s *Server) arrived(r *http.Request, body []byte) Fault {
	header := r.Header.Clone()
	header.Del(headerAPIKey)
	header.Del("Authorization")

	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.requests) == maxRequests {
		s.requests = slices.Delete(s.requests, 0, 1)
	}
	s.requests = append(s.requests, Request{Method: r.Method, URL: r.URL.RequestURI(), Header: header, Body: body})

	i := slices.IndexFunc(s.faults, func(f Fault) bool { return f.Method == "" || f.Method == r.Method })
	if i < 0 {
		return Fault{}
	}
	f := s.faults[i]
	s.faults = slices.Delete(s.faults, i, i+1)
	return f
}

// wait reports whether the time passed before the client gave up or the server was closed.
func (s *Server) wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	case <-s.closed:
		return false
	}
}

func (f *Fault) answer() answer {
	a := answer{status: f.StatusCode, header: http.Header{}, body: []byte(f.Body)}
	if strings.HasPrefix(f.Body, "{") || strings.HasPrefix(f.Body, "[") {
		a.header.Set("Content-Type", "application/json")
		if f.StatusCode >= 400 {
			a.header.Set("Content-Type", "application/problem+json")
		}
	}
	for name, values := range f.Header {
		a.header[http.CanonicalHeaderKey(name)] = values
	}
	if f.StatusCode == http.StatusNoContent || f.StatusCode == http.StatusNotModified { // HTTP knows no body there
		a.body = nil
	}
	return a
}
