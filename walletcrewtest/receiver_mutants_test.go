package walletcrewtest_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

// A plain is a receiver that isn't made with the SDK. As newPlain makes it, it is correct; a test puts a fault in.
type plain struct {
	*ledger
	secrets []walletcrew.Secret

	// The steps, in the order in which they are gone through. Each returns a status to end with, or 0.
	method func(r *http.Request) int
	before func(p *plain, w http.ResponseWriter, r *http.Request) int
	read   func(w http.ResponseWriter, r *http.Request) ([]byte, error)
	early  func(p *plain, r *http.Request, body []byte) int
	verify func(p *plain, r *http.Request, body []byte) bool
	refuse func(p *plain, w http.ResponseWriter, r *http.Request, body []byte)
	id     func(r *http.Request, body []byte) (string, error)
	known  func(name string) int
	once   func(p *plain, r *http.Request, id string, do func() error) int

	takes time.Duration // an effect
	done  map[string]bool
	busy  map[string]bool
}

const (
	plainLimit = 1 << 20
	plainTime  = 5 * time.Second // for a body to come; correct receivers have 25 seconds
)

func newPlain() *plain {
	return &plain{
		ledger:  newLedger(),
		secrets: []walletcrew.Secret{testSecret},
		method: func(r *http.Request) int {
			if r.Method != http.MethodPost {
				return http.StatusMethodNotAllowed
			}
			return 0
		},
		before: func(_ *plain, _ http.ResponseWriter, r *http.Request) int {
			if r.Header.Get("Content-Encoding") != "" {
				return http.StatusUnsupportedMediaType
			}
			return 0
		},
		read: func(w http.ResponseWriter, r *http.Request) ([]byte, error) {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(plainTime))
			body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, plainLimit))
			if err == nil { // else net/http would wait for what is left of the body before it answers
				_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
			}
			return body, err
		},
		early: func(*plain, *http.Request, []byte) int { return 0 },
		verify: func(p *plain, r *http.Request, body []byte) bool {
			return walletcrew.VerifySignature(body, r.Header.Get(walletcrew.HeaderSignature), p.current()...) == nil
		},
		refuse: func(_ *plain, w http.ResponseWriter, _ *http.Request, _ []byte) { w.WriteHeader(http.StatusForbidden) },
		id: func(_ *http.Request, body []byte) (string, error) {
			var event struct {
				ID string `json:"__id"`
			}
			err := json.Unmarshal(body, &event)
			return event.ID, err
		},
		known: func(string) int { return 0 },
		once:  claimed,
		takes: 2 * time.Millisecond,
		done:  map[string]bool{}, busy: map[string]bool{},
	}
}

// claimed is how one delivery of an event at a time is handled, until one of them succeeds.
func claimed(p *plain, _ *http.Request, id string, do func() error) int {
	p.mu.Lock()
	done, busy := p.done[id], p.busy[id]
	p.busy[id] = true
	p.mu.Unlock()
	switch {
	case busy:
		return http.StatusConflict
	case done:
		p.free(id, true)
		return http.StatusOK
	}
	err := do()
	p.free(id, err == nil)
	if err != nil {
		return http.StatusInternalServerError
	}
	return http.StatusOK
}

func (p *plain) free(id string, done bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy[id] = false
	p.done[id] = done
}

func (p *plain) isDone(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done[id]
}

func (p *plain) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if status := p.method(r); status != 0 {
		w.WriteHeader(status)
		return
	}
	if status := p.before(p, w, r); status != 0 {
		w.WriteHeader(status)
		return
	}
	body, err := p.read(w, r)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if status := p.early(p, r, body); status != 0 {
		w.WriteHeader(status)
		return
	}
	if !p.verify(p, r, body) {
		p.refuse(p, w, r, body)
		return
	}
	id, err := p.id(r, body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if status := p.known(r.Header.Get(walletcrew.HeaderEventName)); status != 0 {
		w.WriteHeader(status)
		return
	}
	w.WriteHeader(p.once(p, r, id, func() error { return p.act(r.Context(), id) }))
}

// act is the effect. It takes a moment, and is given up when nobody waits for it.
func (p *plain) act(ctx context.Context, id string) error {
	if p.takes == 0 {
		return p.do(id)
	}
	select {
	case <-time.After(p.takes):
	case <-ctx.Done():
		return ctx.Err()
	}
	return p.do(id)
}

func (p *plain) rotate(context.Context) (walletcrew.Secret, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.secrets = []walletcrew.Secret{newSecret, testSecret}
	return newSecret, nil
}

// signs reports whether f is true of the right signature by one of the secrets.
func (p *plain) signs(body []byte, f func(right string) bool) bool {
	return slices.ContainsFunc(p.current(), func(s walletcrew.Secret) bool { return f(hex.EncodeToString(mac(s, body))) })
}

func (p *plain) current() []walletcrew.Secret {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.secrets
}

func mac(secret walletcrew.Secret, body []byte) []byte {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write(body)
	return m.Sum(nil)
}

// The rules, as they are named.
const (
	ruleAll        = "every event is lost"
	ruleForge      = "anyone can forge an event"
	ruleChange     = "anyone can change an event"
	ruleSuppress   = "anyone can suppress an event"
	ruleDecode     = "anyone can have JSON decoded"
	ruleUnpack     = "anyone can have data unpacked"
	ruleHuge       = "anyone can fill the memory"
	ruleSlow       = "anyone can hold a connection open"
	ruleEmpty      = "nothing passes for an event"
	ruleCutOff     = "half an event passes for a whole one"
	ruleMethods    = "an event takes effect that wasn't posted"
	ruleUnknown    = "a new kind of event is refused for ever"
	ruleJSON       = "an event is refused for how its JSON is written"
	ruleMalformed  = "one malformed event stops the others"
	ruleEarly      = "an event is lost when the receiver ends after its answer"
	ruleDuplicates = "an event takes effect twice when it is delivered twice"
	ruleAtOnce     = "an event takes effect twice, or is lost, when it is delivered twice at once"
	ruleReplayed   = "anyone can make an event take effect again"
	ruleSimilar    = "an event is taken for another"
	ruleOrder      = "an event takes effect twice when others come in between"
	ruleLost       = "an event takes effect twice when its answer is lost"
	ruleHangUp     = "an event is lost, or takes effect twice, when the sender hangs up"
	ruleFails      = "an event is lost when its function fails once"
	ruleFailsOnce  = "an event is lost when its function fails and it is delivered twice at once"
	ruleRotation   = "events are lost when the secret is rotated"
	ruleLeak       = "anyone can learn to sign from an answer"
)

// faults are receivers with one fault each, and the rules that it breaks.
var faults = map[string]struct {
	fault func(p *plain)
	rules []string // at least these are broken
	only  bool     // and no other
	blind bool     // it shows in the answers alone, and is looked for there
}{
	"it checks no signature": {
		func(p *plain) { p.verify = func(*plain, *http.Request, []byte) bool { return true } },
		[]string{ruleForge, ruleChange}, false, true,
	},
	"an empty secret accepts everything": {
		func(p *plain) {
			p.verify = func(p *plain, r *http.Request, body []byte) bool {
				sig := r.Header.Get(walletcrew.HeaderSignature)
				return p.signs(body, func(right string) bool { return sig == right }) || sig == hex.EncodeToString(mac("", body))
			}
		},
		[]string{ruleForge}, false, true,
	},
	"no signature is as good as a right one": {
		func(p *plain) {
			verify := p.verify
			p.verify = func(p *plain, r *http.Request, body []byte) bool {
				return r.Header.Get(walletcrew.HeaderSignature) == "" || verify(p, r, body)
			}
		},
		[]string{ruleForge}, false, true,
	},
	"a prefix of the signature is compared": {
		func(p *plain) {
			p.verify = func(p *plain, r *http.Request, body []byte) bool {
				sig := r.Header.Get(walletcrew.HeaderSignature)
				return len(sig) >= 8 && p.signs(body, func(right string) bool { return sig[:8] == right[:8] })
			}
		},
		[]string{ruleForge}, true, true,
	},
	"a truncated signature is compared as far as it goes": {
		func(p *plain) {
			p.verify = func(p *plain, r *http.Request, body []byte) bool {
				sig := r.Header.Get(walletcrew.HeaderSignature)
				return sig != "" && p.signs(body, func(right string) bool { return strings.HasPrefix(right, sig) })
			}
		},
		[]string{ruleForge}, true, true,
	},
	"the last byte isn't compared": {
		func(p *plain) {
			p.verify = func(p *plain, r *http.Request, body []byte) bool {
				sig := r.Header.Get(walletcrew.HeaderSignature)
				return len(sig) == 64 && p.signs(body, func(right string) bool { return sig[:62] == right[:62] })
			}
		},
		[]string{ruleForge}, true, true,
	},
	"all but the last character of the secret will do": {
		func(p *plain) {
			verify := p.verify
			p.verify = func(p *plain, r *http.Request, body []byte) bool {
				return verify(p, r, body) || r.Header.Get(walletcrew.HeaderSignature) == hex.EncodeToString(mac(testSecret[:len(testSecret)-1], body))
			}
		},
		[]string{ruleForge}, true, true,
	},
	"events that aren't known are acknowledged before the signature is checked": {
		func(p *plain) {
			p.early = func(_ *plain, r *http.Request, _ []byte) int {
				if r.Header.Get(walletcrew.HeaderEventName) != "Pass:Installed" {
					return http.StatusNoContent
				}
				return 0
			}
		},
		[]string{ruleForge}, true, true,
	},
	"forged deliveries are answered with 500": {
		func(p *plain) {
			p.refuse = func(_ *plain, w http.ResponseWriter, _ *http.Request, _ []byte) {
				w.WriteHeader(http.StatusInternalServerError)
			}
		},
		[]string{ruleForge, ruleChange}, false, true,
	},
	"it panics without a signature": {
		func(p *plain) {
			p.before = func(_ *plain, _ http.ResponseWriter, r *http.Request) int {
				if r.Header.Get(walletcrew.HeaderSignature) == "" {
					panic(http.ErrAbortHandler)
				}
				return 0
			}
		},
		[]string{ruleForge}, false, true,
	},
	"white space around the body isn't verified": {
		func(p *plain) {
			verify := p.verify
			p.verify = func(p *plain, r *http.Request, body []byte) bool {
				return verify(p, r, body) || verify(p, r, bytes.TrimSpace(body))
			}
		},
		[]string{ruleChange}, true, true,
	},
	"the signature is checked over the body as it is encoded again": {
		func(p *plain) {
			p.verify = func(p *plain, r *http.Request, body []byte) bool {
				var v map[string]any
				if json.Unmarshal(body, &v) != nil {
					return walletcrew.VerifySignature(body, r.Header.Get(walletcrew.HeaderSignature), p.current()...) == nil
				}
				again, _ := json.Marshal(v)
				return walletcrew.VerifySignature(again, r.Header.Get(walletcrew.HeaderSignature), p.current()...) == nil
			}
		},
		[]string{ruleChange, ruleJSON}, false, true,
	},
	"the error shows the right signature": {
		func(p *plain) {
			p.refuse = func(_ *plain, w http.ResponseWriter, r *http.Request, body []byte) {
				http.Error(w, fmt.Sprintf("got %s, want %x", r.Header.Get(walletcrew.HeaderSignature), mac(testSecret, body)), http.StatusForbidden)
			}
		},
		[]string{ruleLeak}, true, true,
	},
	"a header shows the right signature in base64": {
		func(p *plain) {
			p.refuse = func(_ *plain, w http.ResponseWriter, _ *http.Request, body []byte) {
				w.Header().Set("X-Expected", base64.StdEncoding.EncodeToString(mac(testSecret, body)))
				w.WriteHeader(http.StatusForbidden)
			}
		},
		[]string{ruleLeak}, true, true,
	},
	"the error shows the right signature as numbers": {
		func(p *plain) {
			p.refuse = func(_ *plain, w http.ResponseWriter, _ *http.Request, body []byte) {
				http.Error(w, fmt.Sprintf("expected %d", mac(testSecret, body)), http.StatusForbidden)
			}
		},
		[]string{ruleLeak}, true, true,
	},
	"the error shows the secret": {
		func(p *plain) {
			p.refuse = func(_ *plain, w http.ResponseWriter, _ *http.Request, _ []byte) {
				http.Error(w, `{"secret":"`+string(testSecret)+`"}`, http.StatusForbidden)
			}
		},
		[]string{ruleLeak}, true, true,
	},
	"it decodes before it verifies": {
		func(p *plain) {
			p.early = func(_ *plain, _ *http.Request, body []byte) int {
				if !json.Valid(body) {
					return http.StatusBadRequest
				}
				return 0
			}
		},
		[]string{ruleDecode}, true, true,
	},
	"it remembers an event before it verifies": {
		func(p *plain) {
			p.early = func(p *plain, r *http.Request, body []byte) int {
				id, err := p.id(r, body)
				if err != nil {
					return 0
				}
				if p.isDone("seen " + id) {
					return http.StatusOK
				}
				p.free("seen "+id, true)
				return 0
			}
		},
		[]string{ruleSuppress}, false, false,
	},
	"it unpacks before it verifies": {
		func(p *plain) {
			p.before = func(*plain, http.ResponseWriter, *http.Request) int { return 0 }
			read := p.read
			p.read = func(w http.ResponseWriter, r *http.Request) ([]byte, error) {
				body, err := read(w, r)
				if err != nil || r.Header.Get("Content-Encoding") != "gzip" {
					return body, err
				}
				z, err := gzip.NewReader(bytes.NewReader(body))
				if err != nil {
					return nil, err
				}
				return io.ReadAll(z)
			}
		},
		[]string{ruleUnpack}, true, true,
	},
	"a body has no limit": {
		func(p *plain) {
			p.read = func(w http.ResponseWriter, r *http.Request) ([]byte, error) {
				_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(5 * time.Second))
				return io.ReadAll(r.Body)
			}
		},
		[]string{ruleHuge}, false, true,
	},
	"only a length that is known has a limit": {
		func(p *plain) {
			read := p.read
			p.read = func(w http.ResponseWriter, r *http.Request) ([]byte, error) {
				if r.ContentLength >= 0 {
					return read(w, r)
				}
				return io.ReadAll(r.Body)
			}
		},
		[]string{ruleHuge}, true, true,
	},
	"a body may take for ever": {
		func(p *plain) {
			p.read = func(w http.ResponseWriter, r *http.Request) ([]byte, error) {
				return io.ReadAll(http.MaxBytesReader(w, r.Body, plainLimit))
			}
		},
		[]string{ruleSlow}, true, true,
	},
	"an empty body is a health check": {
		func(p *plain) {
			p.early = func(_ *plain, _ *http.Request, body []byte) int {
				if len(body) == 0 {
					return http.StatusOK
				}
				return 0
			}
		},
		[]string{ruleEmpty}, false, true,
	},
	"what came of a body that broke off is acknowledged": {
		func(p *plain) {
			read := p.read
			p.read = func(w http.ResponseWriter, r *http.Request) ([]byte, error) {
				body, err := read(w, r)
				if errors.Is(err, io.ErrUnexpectedEOF) {
					w.WriteHeader(http.StatusOK)
				}
				return body, err
			}
		},
		[]string{ruleCutOff}, true, true,
	},
	"any method will do": {
		func(p *plain) { p.method = func(*http.Request) int { return 0 } },
		[]string{ruleMethods}, true, true,
	},
	"a GET takes effect": {
		func(p *plain) {
			p.method = func(r *http.Request) int {
				if r.Method != http.MethodPost && r.Method != http.MethodGet {
					return http.StatusMethodNotAllowed
				}
				return 0
			}
		},
		[]string{ruleMethods}, true, false,
	},
	"an event that isn't known is refused": {
		func(p *plain) {
			p.known = func(name string) int {
				if !walletcrew.EventName(name).Known() {
					return http.StatusBadRequest
				}
				return 0
			}
		},
		[]string{ruleUnknown}, true, true,
	},
	"a member that isn't known is refused": {
		func(p *plain) {
			id := p.id
			p.id = func(r *http.Request, body []byte) (string, error) {
				if bytes.Contains(body, []byte("walletcrewtest")) {
					return "", errors.New("unknown member")
				}
				return id(r, body)
			}
		},
		[]string{ruleUnknown, ruleJSON}, false, true,
	},
	"the id is found by its text": {
		func(p *plain) {
			p.id = func(_ *http.Request, body []byte) (string, error) {
				_, rest, ok := bytes.Cut(body, []byte(`"__id":"`))
				id, _, _ := bytes.Cut(rest, []byte(`"`))
				if !ok {
					return "", errors.New("no id")
				}
				return string(id), nil
			}
		},
		[]string{ruleJSON}, false, true,
	},
	"it panics for JSON that is no object": {
		func(p *plain) {
			p.id = func(_ *http.Request, body []byte) (string, error) {
				var v any
				_ = json.Unmarshal(body, &v)
				defer func() {
					if recover() != nil {
						panic(http.ErrAbortHandler)
					}
				}()
				return v.(map[string]any)["__id"].(string), nil
			}
		},
		[]string{ruleMalformed}, false, true,
	},
	"it acknowledges, and then begins": {
		func(p *plain) {
			p.once = func(p *plain, r *http.Request, id string, do func() error) int {
				go func() {
					time.Sleep(50 * time.Millisecond)
					claimed(p, r, id, func() error { return p.do(id) })
				}()
				return http.StatusAccepted
			}
		},
		[]string{ruleEarly}, false, false,
	},
	"it remembers nothing": {
		func(p *plain) {
			p.once = func(_ *plain, _ *http.Request, _ string, do func() error) int { return statusOf(do()) }
		},
		[]string{ruleDuplicates, ruleAtOnce, ruleOrder}, false, false,
	},
	"an event is known by its signature": {
		func(p *plain) {
			p.once = func(p *plain, r *http.Request, _ string, do func() error) int {
				return claimed(p, r, r.Header.Get(walletcrew.HeaderSignature), do)
			}
		},
		[]string{ruleDuplicates, ruleRotation}, false, false,
	},
	"an event is known by its pass": {
		func(p *plain) {
			id := p.id
			pass := map[string]string{}
			p.id = func(r *http.Request, body []byte) (string, error) {
				var event struct {
					PassID string `json:"passId"`
				}
				_ = json.Unmarshal(body, &event)
				text, err := id(r, body)
				p.mu.Lock()
				defer p.mu.Unlock()
				pass[text] = event.PassID
				return text, err
			}
			p.once = func(p *plain, r *http.Request, id string, do func() error) int {
				p.mu.Lock()
				key := pass[id]
				p.mu.Unlock()
				return claimed(p, r, key, do)
			}
		},
		[]string{ruleSimilar}, true, false,
	},
	"an id is cut to 30 characters": {
		func(p *plain) {
			p.once = func(p *plain, r *http.Request, id string, do func() error) int {
				return claimed(p, r, id[:min(len(id), 30)], do)
			}
		},
		[]string{ruleSimilar}, true, false,
	},
	"a duplicate is refused": {
		func(p *plain) {
			p.once = func(p *plain, r *http.Request, id string, do func() error) int {
				if p.isDone(id) {
					return http.StatusConflict
				}
				return claimed(p, r, id, do)
			}
		},
		[]string{ruleDuplicates, ruleOrder}, false, true,
	},
	"a duplicate is acknowledged while the event is handled": {
		func(p *plain) {
			p.takes = 300 * time.Millisecond
			p.once = func(p *plain, r *http.Request, id string, do func() error) int {
				if status := claimed(p, r, id, do); status != http.StatusConflict {
					return status
				}
				return http.StatusOK
			}
		},
		[]string{ruleAtOnce, ruleFailsOnce}, false, false,
	},
	"a check and a set that two deliveries both pass": {
		func(p *plain) {
			p.once = func(p *plain, _ *http.Request, id string, do func() error) int {
				if p.isDone(id) {
					return http.StatusOK
				}
				err := do()
				if err == nil {
					p.free(id, true)
				}
				return statusOf(err)
			}
		},
		[]string{ruleAtOnce}, false, false,
	},
	"only the last event is remembered": {
		func(p *plain) {
			last := ""
			var mu sync.Mutex
			p.once = func(p *plain, _ *http.Request, id string, do func() error) int {
				mu.Lock()
				defer mu.Unlock()
				if id == last {
					return http.StatusOK
				}
				err := do()
				if err == nil {
					last = id
				}
				return statusOf(err)
			}
		},
		[]string{ruleOrder}, false, false,
	},
	"it is marked as done before it is": {
		func(p *plain) {
			p.once = func(p *plain, _ *http.Request, id string, do func() error) int {
				if p.isDone(id) {
					return http.StatusOK
				}
				p.free(id, true)
				return statusOf(do())
			}
		},
		[]string{ruleFails, ruleHangUp}, false, false,
	},
	"what failed is never freed": {
		func(p *plain) {
			p.once = func(p *plain, _ *http.Request, id string, do func() error) int {
				p.mu.Lock()
				done, busy := p.done[id], p.busy[id]
				p.busy[id] = true
				p.mu.Unlock()
				if done || busy {
					return map[bool]int{true: http.StatusOK, false: http.StatusServiceUnavailable}[done]
				}
				err := do()
				if err == nil {
					p.free(id, true)
				}
				return statusOf(err)
			}
		},
		[]string{ruleFails, ruleHangUp}, false, false,
	},
	"a failure is acknowledged": {
		func(p *plain) {
			p.once = func(p *plain, r *http.Request, id string, do func() error) int {
				if claimed(p, r, id, do) == http.StatusConflict {
					return http.StatusConflict
				}
				return http.StatusOK
			}
		},
		[]string{ruleFails}, false, false,
	},
	"a sender that has gone undoes what was done": {
		func(p *plain) {
			p.once = func(p *plain, r *http.Request, id string, _ func() error) int {
				return claimed(p, r, id, func() error {
					time.Sleep(2 * time.Millisecond)
					if err := p.do(id); err != nil {
						return err
					}
					time.Sleep(2 * time.Millisecond)
					return r.Context().Err()
				})
			}
		},
		[]string{ruleHangUp}, false, false,
	},
	"the old secret is gone after a rotation": {
		func(p *plain) {
			p.verify = func(p *plain, r *http.Request, body []byte) bool {
				return walletcrew.VerifySignature(body, r.Header.Get(walletcrew.HeaderSignature), p.current()[0]) == nil
			}
		},
		[]string{ruleRotation}, true, false,
	},
	"it accepts nothing": {
		func(p *plain) { p.method = func(*http.Request) int { return http.StatusNotFound } },
		[]string{ruleAll}, true, true,
	},
	"it redirects": {
		func(p *plain) { p.method = func(*http.Request) int { return http.StatusTemporaryRedirect } },
		[]string{ruleAll}, true, true,
	},
	"it acknowledges everything, and does nothing": {
		func(p *plain) { p.method = func(*http.Request) int { return http.StatusOK } },
		[]string{ruleAll}, true, false,
	},
	"it is always busy": {
		func(p *plain) { p.method = func(*http.Request) int { return http.StatusServiceUnavailable } },
		[]string{ruleAll}, true, true,
	},
}

func statusOf(err error) int {
	if err != nil {
		return http.StatusInternalServerError
	}
	return http.StatusOK
}

func checkPlain(t *testing.T, p *plain, opts ...walletcrewtest.ReceiverOption) *walletcrewtest.ReceiverReport {
	t.Helper()
	server := httptest.NewUnstartedServer(p)
	server.Config.ErrorLog = quietLog
	server.Start()
	defer server.Close()
	report, err := walletcrewtest.CheckReceiver(t.Context(), server.URL, testSecret,
		append(opts, walletcrewtest.WithLimits(20*time.Second, 12*time.Second, 2*time.Second))...)
	require.NoError(t, err)
	return report
}

func brokenRules(report *walletcrewtest.ReceiverReport) map[string]string {
	all := map[string]string{}
	for _, rule := range report.Rules {
		if !rule.Passed && !rule.Skipped {
			all[rule.Name] = rule.Why
		}
	}
	return all
}

// someSeeds is how many runs may find a fault: two deliveries must meet for some.
const someSeeds = 5

// skipSlow leaves out what is about the tests' own power, where time is short or the race detector takes it.
func skipSlow(t *testing.T) {
	t.Helper()
	if testing.Short() || raceDetector {
		t.Skip("it takes long, and is run without -short and -race")
	}
}

func TestEachFaultIsFound(t *testing.T) {
	skipSlow(t)
	t.Parallel()
	var wg sync.WaitGroup // all at once: they wait more than they work
	for name, test := range faults {
		wg.Go(func() {
			var found map[string]string
			for range someSeeds {
				p := newPlain()
				test.fault(p)
				opts := []walletcrewtest.ReceiverOption{walletcrewtest.WithRotation(p.rotate)}
				if !test.blind {
					opts = append(opts, walletcrewtest.WithEffects(p.count), walletcrewtest.WithFailures(p.fail))
				}
				found = brokenRules(checkPlain(t, p, opts...))
				missing := slices.ContainsFunc(test.rules, func(rule string) bool { return found[rule] == "" })
				if !missing && (!test.only || len(found) == len(test.rules)) {
					return
				}
			}
			assert.Fail(t, "not found, or beside other rules", "%s: want %q, got %v", name, test.rules, found)
		})
	}
	wg.Wait()
}

func aReceiverThatIsNotMadeWithTheSDKKeepsTheRules(t *testing.T) {
	t.Parallel()
	p := newPlain()
	assert.Empty(t, brokenRules(checkPlain(t, p, walletcrewtest.WithEffects(p.count), walletcrewtest.WithFailures(p.fail), walletcrewtest.WithRotation(p.rotate))))
	assert.Empty(t, brokenRules(checkPlain(t, newPlain())), "without effects")
}
