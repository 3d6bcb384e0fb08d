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
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

// slowBody is how long the receiver by hand waits for a body: more than one takes on a busy machine.
const slowBody = 3 * time.Second

const plantedSecret = "k7Qx2mVb9LpZr4TnYw8HcJd6Fg1Ae3Us5Ri0Ko7Bv2Nx9Mq4Zt6Py8Wl1Dh3Cj5E"

// plainReceiver is a receiver written by hand on net/http alone, so that TestReceiver isn't only tried on this module's own Handler. fault is the name
// of its one planted fault; "" is the correct receiver.
type plainReceiver struct {
	fault string

	mu       sync.Mutex
	secrets  []string
	done     map[string]bool
	busy     map[string]bool
	last     string               // for "memory of one"
	doneAt   map[string]time.Time // for "forgets soon"
	effects  map[string]int
	failures map[string]int
}

var errPlanted = errors.New("the effect failed")

func (p *plainReceiver) is(fault string) bool { return p.fault == fault }

func (p *plainReceiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost && !p.is("other methods accepted") && (!p.is("GET accepted") || r.Method != http.MethodGet) {
		w.Header().Set("Allow", "POST")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	if r.Method != http.MethodPost && p.is("other methods accepted") {
		w.WriteHeader(http.StatusOK)
		return
	}
	encoding := r.Header.Get("Content-Encoding")
	if encoding != "" && encoding != "identity" && !p.is("unzipped before verifying") {
		w.WriteHeader(http.StatusUnsupportedMediaType)
		return
	}
	body, status := p.read(w, r)
	if id, ok := plainID(body); ok && status == http.StatusBadRequest && p.is("effect on a cut-off body") {
		p.take(r.Context(), id)
	}
	if status != 0 {
		w.WriteHeader(status)
		return
	}
	if encoding == "gzip" {
		zr, err := gzip.NewReader(bytes.NewReader(body))
		if err == nil {
			body, err = io.ReadAll(zr)
		}
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
	}
	if p.is("decoded before verifying") && !json.Valid(body) {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if p.is("effect before verifying") {
		if id, ok := plainID(body); ok {
			p.take(r.Context(), id)
		}
	}
	if !p.authentic(w, r, body) {
		if !p.is("error text with the right signature") && !p.is("refusal answered 500") && !p.is("refusal answered 302") {
			w.WriteHeader(http.StatusUnauthorized)
		}
		return
	}
	if name := r.Header.Get("X-Neostore-Eventname"); !strings.EqualFold(name, "Pass:Installed") {
		switch {
		case p.is("500 for unknown events"):
			w.WriteHeader(http.StatusInternalServerError)
		case p.is("404 for unknown events"):
			w.WriteHeader(http.StatusNotFound)
		case p.is("panics on unknown events"):
			panic(http.ErrAbortHandler)
		default:
			w.WriteHeader(http.StatusNoContent)
		}
		return
	}
	id, ok := plainID(body)
	if !ok {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	key := id
	if p.is("header's name in the key") {
		key += "|" + r.Header.Get("X-Neostore-Eventname")
	}
	if p.is("signature's text in the key") {
		key += "|" + r.Header.Get("X-Neostore-Signature")
	}
	p.handle(w, r, key, id)
}

// read returns the body, or the status that refuses it.
func (p *plainReceiver) read(w http.ResponseWriter, r *http.Request) ([]byte, int) {
	const limit = 1 << 20
	rc := http.NewResponseController(w)
	if !p.is("waits for a slow body") {
		_ = rc.SetReadDeadline(time.Now().Add(slowBody))
	}
	var src io.Reader = http.MaxBytesReader(w, r.Body, limit)
	switch {
	case p.is("no limit"):
		src = r.Body
	}
	body, err := io.ReadAll(src)
	if err == nil { // else net/http, which reads what is left of a body before it answers, would wait without end
		_ = rc.SetReadDeadline(time.Time{})
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, http.StatusRequestEntityTooLarge
	case err != nil && p.is("effect on a cut-off body"):
		return body, http.StatusBadRequest
	case err != nil && p.is("200 for a cut-off body"):
		return nil, http.StatusOK
	case err != nil:
		return nil, http.StatusBadRequest
	}
	return body, 0
}

func plainID(body []byte) (string, bool) {
	var event struct {
		ID any `json:"__id"`
	}
	if json.Unmarshal(body, &event) != nil || event.ID == nil {
		return "", false
	}
	return fmt.Sprint(event.ID), true
}

func plainMAC(secret string, body []byte) []byte {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	return mac.Sum(nil)
}

func plainSignature(text string) []byte {
	text = strings.TrimPrefix(text, "sha256=")
	if b, err := hex.DecodeString(text); err == nil {
		return b
	}
	b, _ := base64.StdEncoding.DecodeString(text)
	return b
}

// authentic says whether the signature holds.
func (p *plainReceiver) authentic(w http.ResponseWriter, r *http.Request, body []byte) bool {
	p.mu.Lock()
	secrets := append([]string(nil), p.secrets...)
	p.mu.Unlock()
	text := r.Header.Get("X-Neostore-Signature")
	sig := plainSignature(text)

	signed := body
	switch {
	case p.is("accepts everything"):
		return true
	case p.is("empty secret"):
		secrets = append(secrets, "")
	case p.is("unsigned accepted"), p.is("verified only when the header is there"):
		if text == "" {
			return true
		}
	case p.is("no header at all accepted"):
		if _, there := r.Header["X-Neostore-Signature"]; !there {
			return true
		}
	case p.is("any 32 bytes"):
		return len(sig) == sha256.Size
	case p.is("only well-formed"):
		return text != "" && len(sig) > 0
	case p.is("trims the body"):
		signed = bytes.TrimSpace(body)
	case p.is("trims the newline"):
		signed = bytes.TrimRight(body, "\r\n")
	case p.is("verifies a re-encoded body"):
		var v any
		if json.Unmarshal(body, &v) == nil {
			signed, _ = json.Marshal(v)
		}
	case p.is("verifies a compacted body"):
		var b bytes.Buffer
		if json.Compact(&b, body) == nil {
			signed = b.Bytes()
		}
	case p.is("secret decoded as hex"):
		for i := range secrets {
			b, _ := hex.DecodeString(secrets[i])
			secrets[i] = string(b)
		}
	case p.is("signs the first KiB only"):
		signed = body[:min(len(body), 1024)]
	case p.is("signs the first 64 bytes only"):
		signed = body[:min(len(body), 64)]
	}
	var want []byte
	for _, secret := range secrets {
		want = plainMAC(secret, signed)
		switch {
		case p.is("compares a prefix of 4 bytes"):
			if len(sig) >= 4 && bytes.Equal(sig[:4], want[:4]) {
				return true
			}
		case p.is("compares as far as the sender's goes"):
			if bytes.HasPrefix(want, sig) {
				return true
			}
		case p.is("compares as far as the sender's goes, not empty"):
			if len(sig) > 0 && bytes.HasPrefix(want, sig) {
				return true
			}
		case p.is("more may follow the signature"):
			if strings.HasPrefix(text, hex.EncodeToString(want)) {
				return true
			}
		case p.is("compares all but the last byte"):
			if len(sig) == 32 && bytes.Equal(sig[:31], want[:31]) {
				return true
			}
		case p.is("compares the last bytes"):
			if len(sig) == 32 && bytes.Equal(sig[24:], want[24:]) {
				return true
			}
		case p.is("compares letters only"):
			fold := func(c rune) rune {
				if c >= '0' && c <= '9' {
					return -1
				}
				return c
			}
			if len(sig) == 32 && strings.EqualFold(strings.Map(fold, text), strings.Map(fold, hex.EncodeToString(want))) {
				return true
			}
		case p.is("compares the length and a bit of each byte"):
			same := len(sig) == len(want)
			for i := range want {
				same = same && sig[i]|0x20 == want[i]|0x20
			}
			if same {
				return true
			}
		case hmac.Equal(sig, want):
			return true
		}
	}
	p.leak(w, want)
	return false
}

func (p *plainReceiver) leak(w http.ResponseWriter, want []byte) {
	switch {
	case p.is("error text with the right signature"):
		http.Error(w, "want "+hex.EncodeToString(want), http.StatusUnauthorized)
	case p.is("answer header with the right signature"):
		w.Header().Set("X-Expected", hex.EncodeToString(want))
	case p.is("answer header with it in base64"):
		w.Header().Set("X-Expected", base64.StdEncoding.EncodeToString(want))
	case p.is("answer header with the secret"):
		w.Header().Set("X-Debug", "key="+p.secrets[0])
	case p.is("refusal answered 500"):
		w.WriteHeader(http.StatusInternalServerError)
	case p.is("refusal answered 302"):
		w.Header().Set("Location", "/")
		w.WriteHeader(http.StatusFound)
	}
}

// handle claims the event, lets it take effect, and answers.
func (p *plainReceiver) handle(w http.ResponseWriter, r *http.Request, key, id string) {
	status := p.claim(key, id)
	if status != 0 {
		w.WriteHeader(status)
		return
	}
	if p.is("200 first, effect later") {
		w.WriteHeader(http.StatusOK)
		go func() { _ = p.effect(context.Background(), id); p.settle(key, true) }()
		return
	}
	err := p.effect(r.Context(), id)
	if err != nil && p.is("hang-up marks it done") {
		p.settle(key, r.Context().Err() != nil)
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	if p.is("effect twice on a lost answer") && r.Context().Err() != nil {
		p.settle(key, false)
		return
	}
	p.settle(key, err == nil || p.is("a failed one is marked done"))
	switch {
	case err != nil && p.is("lock kept after a failure"):
		p.mu.Lock()
		p.busy[key] = true
		p.mu.Unlock()
		w.WriteHeader(http.StatusInternalServerError)
	case err != nil && p.is("failure acknowledged"):
		w.WriteHeader(http.StatusOK)
	case err != nil:
		w.WriteHeader(http.StatusInternalServerError)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// claim returns 0 if the event is the caller's, else the answer.
func (p *plainReceiver) claim(key, id string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.is("no deduplication") {
		return 0
	}
	known := p.done[key]
	if p.is("memory of one") {
		known = p.last == key
	}
	if at, ok := p.doneAt[key]; ok && p.is("forgets after 100 ms") && time.Since(at) > 100*time.Millisecond {
		known = false
	}
	switch {
	case known && p.is("duplicate answered 409"):
		return http.StatusConflict
	case known && p.is("duplicate answered 500"):
		return http.StatusInternalServerError
	case known:
		return http.StatusNoContent
	case p.busy[key] && p.is("200 to a duplicate in flight"):
		return http.StatusOK
	case p.busy[key]:
		return http.StatusServiceUnavailable
	}
	if p.is("check, then set") {
		p.mu.Unlock()
		time.Sleep(2 * time.Millisecond)
		p.mu.Lock()
		return 0
	}
	p.busy[key] = true
	if p.is("done before the effect") {
		p.done[key] = true
	}
	return 0
}

func (p *plainReceiver) settle(key string, done bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.busy, key)
	if done {
		p.done[key], p.doneAt[key], p.last = true, time.Now(), key
	}
}

// take is the effect outside of the dedupe: what a receiver that doesn't verify first does.
func (p *plainReceiver) take(ctx context.Context, id string) { _ = p.effect(ctx, id) }

// effect counts the event, or fails as the test asked. It takes a moment, so that deliveries at once do meet.
func (p *plainReceiver) effect(ctx context.Context, id string) error {
	time.Sleep(2 * time.Millisecond)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failures[id] > 0 {
		p.failures[id]--
		if p.is("effect though it failed") {
			p.effects[id]++
		}
		return errPlanted
	}
	if ctx.Err() != nil && p.is("hang-up marks it done") {
		return ctx.Err()
	}
	p.effects[id]++
	return nil
}

func (p *plainReceiver) rotate(context.Context) (walletcrew.Secret, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := strings.Repeat("n3wS", 16)
	switch {
	case p.is("rotation: only the old"):
	case p.is("rotation: only the new"):
		p.secrets = []string{next}
	case p.is("rotation: dedupe forgets"):
		p.secrets = append(p.secrets, next)
		p.done = map[string]bool{}
	case p.is("rotation: everything until the next start"):
		p.secrets = append(p.secrets, next)
		p.fault = "accepts everything"
	default:
		p.secrets = append(p.secrets, next)
	}
	return walletcrew.Secret(next), nil
}

func newPlainReceiver(t *testing.T, fault string) (*plainReceiver, string) {
	t.Helper()
	p := &plainReceiver{
		fault: fault, secrets: []string{plantedSecret}, done: map[string]bool{}, busy: map[string]bool{}, doneAt: map[string]time.Time{},
		effects: map[string]int{}, failures: map[string]int{},
	}
	server := httptest.NewServer(p)
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	return p, server.URL
}

func (p *plainReceiver) check(t *testing.T, url string, seed uint64, more ...walletcrewtest.ReceiverOption) *walletcrewtest.ReceiverReport {
	t.Helper()
	opts := append([]walletcrewtest.ReceiverOption{
		walletcrewtest.WithSeed(seed),
		walletcrewtest.WithLimits(2*slowBody, 2*slowBody, slowBody),
		walletcrewtest.WithEffects(func(id string) int { p.mu.Lock(); defer p.mu.Unlock(); return p.effects[id] }),
		walletcrewtest.WithFailures(func(id string, times int) { p.mu.Lock(); defer p.mu.Unlock(); p.failures[id] = times }),
		walletcrewtest.WithRotation(p.rotate),
	}, more...)
	report, err := walletcrewtest.CheckReceiver(t.Context(), url, walletcrew.Secret(plantedSecret), opts...)
	if !assert.NoError(t, err) { // it isn't the test's goroutine
		return &walletcrewtest.ReceiverReport{}
	}
	return report
}

func plantedFindings(report *walletcrewtest.ReceiverReport) []string {
	var broken []string
	for _, rule := range report.Rules {
		if !rule.Passed && !rule.Skipped {
			broken = append(broken, rule.Name+": "+rule.Why)
		}
	}
	return broken
}

func aCorrectReceiverByHandPasses(t *testing.T) {
	t.Parallel()
	var wg sync.WaitGroup
	for seed := range uint64(2) {
		wg.Go(func() {
			p, url := newPlainReceiver(t, "")
			assert.Empty(t, plantedFindings(p.check(t, url, seed)), "seed %d", seed)
		})
	}
	wg.Wait()
}

// plantedFaults don't hold what can't be seen from outside, or is no break of a rule: a body read without a limit and refused for its length
// then; one cut at the limit, whose signature doesn't hold then; 409 to a duplicate in flight and 400 for a failure, since what isn't 2xx comes
// again; the tenant header in the key, where tenants may have secrets of their own; 200 without an effect to a GET, which may be a health check.
var plantedFaults = []string{
	"accepts everything", "empty secret", "unsigned accepted", "no header at all accepted", "any 32 bytes", "only well-formed",
	"trims the body", "trims the newline", "verifies a re-encoded body", "verifies a compacted body", "secret decoded as hex",
	"signs the first KiB only", "signs the first 64 bytes only",
	"compares a prefix of 4 bytes", "compares as far as the sender's goes", "compares as far as the sender's goes, not empty",
	"more may follow the signature", "compares all but the last byte", "compares the last bytes", "compares letters only",
	"compares the length and a bit of each byte",
	"error text with the right signature", "answer header with the right signature", "answer header with it in base64",
	"answer header with the secret", "refusal answered 500", "refusal answered 302",
	"decoded before verifying", "effect before verifying", "unzipped before verifying",
	"no limit", "waits for a slow body", "effect on a cut-off body", "200 for a cut-off body",
	"GET accepted", "other methods accepted", "500 for unknown events", "404 for unknown events", "panics on unknown events",
	"no deduplication", "header's name in the key", "signature's text in the key", "memory of one", "forgets after 100 ms",
	"duplicate answered 409", "duplicate answered 500", "200 to a duplicate in flight", "check, then set",
	"done before the effect", "200 first, effect later", "a failed one is marked done", "failure acknowledged",
	"effect though it failed", "lock kept after a failure", "hang-up marks it done", "effect twice on a lost answer",
	"rotation: only the old", "rotation: only the new", "rotation: dedupe forgets", "rotation: everything until the next start",
}

func TestPlantedFaultsAreFound(t *testing.T) {
	skipSlow(t)
	t.Parallel()
	var wg sync.WaitGroup // all at once, since they wait more than they work; subtests would be as many as there are processors
	for _, fault := range plantedFaults {
		wg.Go(func() {
			for seed := range uint64(someSeeds) {
				p, url := newPlainReceiver(t, fault)
				if len(plantedFindings(p.check(t, url, seed+1))) > 0 {
					return
				}
			}
			assert.Fail(t, "TestReceiver doesn't find a receiver with a fault", fault)
		})
	}
	wg.Wait()
}
