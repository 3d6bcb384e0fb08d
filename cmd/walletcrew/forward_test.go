package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/semaphore"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/cmd/walletcrew/internal/inspector"
	"github.com/thewalletcrew/walletcrew-go/internal/freeport"
	"github.com/thewalletcrew/walletcrew-go/verifier"
)

// newTestSession is a session in this process, which forwards to a URL.
func newTestSession(t *testing.T, forwardTo string, keep bool) (*session, *output) {
	t.Helper()
	said := newOutput()
	c := &cli{out: newOutput(), err: said, output: "json", terminal: never}
	s, err := c.newSession(verifier.Static("the secret"))
	require.NoError(t, err)
	s.forged = true
	s.signer = func(context.Context, string) (walletcrew.Secret, error) { return "the secret", nil }
	require.NoError(t, s.options(forwardTo, keep, ""))
	return s, said
}

// smee-client 325: the body is encoded again on the way, so that the signature fails.
func TestWhatIsForwardedIsWhatCameByteForByte(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var body []byte
	var header http.Header
	s := newServer(t, func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		header = r.Header.Clone()
		body = make([]byte, max(r.ContentLength, 0))
		_, _ = io.ReadFull(r.Body, body)
	})
	session, _ := newTestSession(t, s.URL, false)
	receiver := httptest.NewServer(session)
	defer receiver.Close()

	random := rand.New(rand.NewPCG(15, 325))
	for i := range 10_000 {
		sent := fuzzed(random)
		req, err := http.NewRequest(http.MethodPost, receiver.URL, bytes.NewReader(sent))
		require.NoError(t, err)
		signature := walletcrew.Sign("the secret", sent)
		req.Header.Set(walletcrew.HeaderSignature, signature)
		req.Header.Set(walletcrew.HeaderEventName, "Pass:Installed")
		req.Header["X-Many"] = []string{"one", " two", ""}
		req.Header.Set("Content-Type", "application/json; charset=\"x\"")
		resp, err := receiver.Client().Do(req)
		require.NoError(t, err)
		_ = resp.Body.Close()
		mu.Lock()
		require.Equal(t, sha256.Sum256(sent), sha256.Sum256(body), "body %d: %q", i, sent)
		require.Equal(t, signature, header.Get(walletcrew.HeaderSignature))
		require.Equal(t, []string{"one", "two", ""}, header["X-Many"], "net/http trims, nothing else changes")
		require.Equal(t, "application/json; charset=\"x\"", header.Get("Content-Type"))
		require.Equal(t, "Go-http-client/1.1", header.Get("User-Agent"), "the sender's")
		mu.Unlock()
	}
}

// fuzzed is a body that an encoder would change, or no JSON at all.
func fuzzed(random *rand.Rand) []byte {
	pieces := []string{`{"__id":"x","a": 1.0}`, "\r\n", "\xff\xfe", "\x00", `"\u00e9é<>&"`, " ", "1e400", `{"a":1,"a":2}`, "\uFEFF", `\ud83d`, "😀", "}", "\x1f\x8b\x08"}
	var body []byte
	for range random.IntN(12) {
		if random.IntN(3) == 0 {
			body = append(body, byte(random.IntN(256)))
			continue
		}
		body = append(body, pieces[random.IntN(len(pieces))]...)
	}
	return body
}

// twitch-cli 53: the platform follows no redirect, so neither may the forwarder.
func TestARedirectIsAnAnswerAndIsNotFollowed(t *testing.T) {
	t.Parallel()
	other := newService(t)
	s := newService(t)
	s.says(http.StatusTemporaryRedirect, http.Header{"Location": {other.URL}}, "")
	u := newUser(t)
	d := u.dev("--forward-to", s.URL)
	var r result
	u.answer(&r, 1, "trigger", "trigger", "Pass:Installed")
	assert.Equal(t, http.StatusTemporaryRedirect, r.Status)
	u.answer(&r, 1, "trigger", "trigger", "Pass:Installed", "--to", s.URL, "--secret-file", secretFile(t, d.Secret))
	assert.Equal(t, http.StatusTemporaryRedirect, r.Status)
	assert.Len(t, s.got(), 2)
	assert.Empty(t, other.got())
}

// hookdeck-cli 14: what came while the service was away is lost.
func TestWithKeepNothingIsLostWhileTheServiceIsAway(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	address, err := freeport.Address()
	require.NoError(t, err)
	d := u.dev("--forward-to", "http://"+address, "--keep")
	for i := range 5 {
		o := u.run("trigger", "Pass:Installed", "--set", fmt.Sprintf("__id=e-%d", i))
		assert.Equal(t, 1, o.code)
		assert.Contains(t, o.out, "kept until your service is back")
	}
	d.err.wait(t, "what comes is kept", 1)

	back := newServiceAt(t, address)
	d.err.wait(t, "answers again", 1)
	d.err.wait(t, "all that was kept is forwarded", 1)
	came := back.got()
	require.Len(t, came, 5)
	for i, m := range came {
		assert.Contains(t, string(m.Body), fmt.Sprintf(`"__id":"e-%d"`, i), "in order")
		assert.NoError(t, walletcrew.VerifySignature(m.Body, m.Header.Get(walletcrew.HeaderSignature), walletcrew.Secret(d.Secret)))
	}
	u.ok("trigger", "Pass:Installed")
	assert.Zero(t, d.interrupt())
	assert.NotContains(t, d.err.String(), "lost")
}

func TestWithoutKeepDevSaysWhatIsLost(t *testing.T) {
	t.Parallel()
	u, s := newUser(t), newService(t)
	s.Close()
	d := u.dev("--forward-to", s.URL)
	o := u.run("trigger", "Pass:Installed", "--set", "__id=e-7")
	assert.Equal(t, 1, o.code)
	d.err.wait(t, "--keep keeps it", 1)
	d.err.wait(t, "lost: Pass:Installed e-7", 1)
	assert.Zero(t, d.interrupt())
	assert.Contains(t, d.err.String(), "1 deliveries were lost")
}

func TestTheQueueOfKeepIsBounded(t *testing.T) {
	t.Parallel()
	q := newQueue(3, 100)
	big := kept{message: message{Body: make([]byte, 60)}}
	assert.True(t, q.add(big))
	assert.False(t, q.add(big), "too many bytes")
	assert.True(t, q.add(kept{}))
	assert.True(t, q.add(kept{}))
	assert.False(t, q.add(kept{}), "too many")
	q.removeFirst()
	assert.True(t, q.add(big), "there is room again")

	session, said := newTestSession(t, "http://127.0.0.1:1", true)
	session.forward.queue = newQueue(1, 1<<20)
	for range 2 {
		session.deliver(t.Context(), "", draft{Event: "Pass:Installed", Body: []byte(`{"__id":"e-1"}`)}.signed("the secret"))
	}
	assert.Contains(t, said.String(), "the queue of --keep is full: Pass:Installed e-1 is lost")
	session.close()
	assert.Contains(t, said.String(), "1 deliveries were still kept for your service, and are lost")
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A delivery that the service refuses for good doesn't hold up those behind it.
func TestAKeptDeliveryThatIsRefusedIsGivenUpAndTheNextComesThrough(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		said := newOutput()
		var mu sync.Mutex
		away, tries := true, 0
		f := &forwarder{url: "http://service.example", queue: newQueue(10, 1000), client: &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			mu.Lock()
			defer mu.Unlock()
			if away {
				return nil, errors.New("connection refused")
			}
			if r.Header.Get("Bad") != "" {
				tries++
				return answer{Status: 500, Header: http.Header{}}.response(r), nil
			}
			return answer{Status: 204, Header: http.Header{}}.response(r), nil
		})}, say: func(format string, args ...any) { _, _ = fmt.Fprintf(said, format+"\n", args...) }}
		ctx, cancel := context.WithCancel(t.Context())
		var done sync.WaitGroup
		done.Go(func() { f.run(ctx) })
		got := []int{}
		then := func(a answer, err error) {
			if err == nil {
				got = append(got, a.Status)
			}
		}
		assert.True(t, f.forward(ctx, "bad", message{Header: http.Header{"Bad": {"1"}}}, then).Kept)
		assert.True(t, f.forward(ctx, "good", message{}, then).Kept)
		time.Sleep(time.Minute)
		mu.Lock()
		away = false
		mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		cancel()
		done.Wait()
		assert.Equal(t, maxKeptTries, tries)
		assert.Equal(t, []int{500, 500, 500, 500, 500, 204}, got)
		assert.Contains(t, said.String(), "lost: bad, which was kept: your service answered 500")
	})
}

func TestTheSendersAnswerIsTheServices(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.says(http.StatusTeapot, http.Header{"X-Of-The-Service": {"yes"}, "Connection": {"X-Hop"}, "X-Hop": {"1"}}, "short and stout")
	session, _ := newTestSession(t, s.URL, false)
	receiver := httptest.NewServer(session)
	defer receiver.Close()
	a, err := post(t.Context(), newSender(), receiver.URL, draft{Event: "Pass:Installed", Body: []byte("{}")}.signed("the secret"))
	require.NoError(t, err)
	assert.Equal(t, http.StatusTeapot, a.Status)
	assert.Equal(t, "short and stout", string(a.Body))
	assert.Equal(t, "yes", a.Header.Get("X-Of-The-Service"))
	assert.Empty(t, a.Header.Get("X-Hop"), "it concerns one connection only")
	record := session.store.List(0)[0]
	assert.Equal(t, inspector.Verified, record.Verdict)
	assert.Equal(t, "short and stout", record.Answer)
}

func TestAListenForwardsNothingThatIsNotAuthentic(t *testing.T) {
	t.Parallel()
	s := newService(t)
	session, _ := newTestSession(t, s.URL, false)
	session.forged = false // as listen has it
	good := draft{Event: "Pass:Installed", Body: []byte(`{"__id":"1"}`)}
	for _, f := range []forgery{tampered, wrongSecret, notSigned} {
		bad := good
		bad.Forgery = f
		_, a := session.receive(t.Context(), incoming{message: bad.signed("the secret")})
		assert.Equal(t, http.StatusUnauthorized, a.Status, f)
	}
	assert.Empty(t, s.got())
	_, a := session.receive(t.Context(), incoming{message: message{Method: http.MethodPut, Header: http.Header{}, Body: nil}})
	assert.Equal(t, http.StatusMethodNotAllowed, a.Status)
	_, a = session.receive(t.Context(), incoming{message: good.signed("the secret")})
	assert.Equal(t, http.StatusNoContent, a.Status)
	assert.Len(t, s.got(), 1)
}

func TestABodyThatIsTooLargeIsRefusedAndShown(t *testing.T) {
	t.Parallel()
	session, _ := newTestSession(t, "http://127.0.0.1:1", false)
	receiver := httptest.NewServer(session)
	defer receiver.Close()
	a, err := post(t.Context(), newSender(), receiver.URL, message{Header: http.Header{}, Body: make([]byte, maxBody+1)})
	require.NoError(t, err)
	assert.Equal(t, http.StatusRequestEntityTooLarge, a.Status)
	assert.Equal(t, inspector.Refused, session.store.List(0)[0].Verdict)
}

// The endpoint of a listen is public.
func TestAStrangerCantMakeTheSessionWorkOrWait(t *testing.T) {
	t.Parallel()
	session, _ := newTestSession(t, "http://127.0.0.1:1", false)
	session.forged = false
	bad := draft{Event: "Pass:Installed", Body: []byte("{}"), Forgery: wrongSecret}.signed("the secret")
	for range 100 {
		session.receive(t.Context(), incoming{message: bad})
	}
	tired := 0
	for _, r := range session.store.List(0) {
		for _, finding := range r.Findings {
			if strings.HasPrefix(finding, "too many such come") {
				tired++
			}
		}
	}
	assert.Greater(t, tired, 50)
	session.forged = true
	id, _ := session.receive(t.Context(), incoming{message: bad, own: true})
	r, _ := session.store.Get(id)
	assert.NotContains(t, strings.Join(r.Findings, " "), "too many such come", "the user's own")

	session.bodyTime = 50 * time.Millisecond
	server := httptest.NewServer(session)
	defer server.Close()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	_, err = fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err, "it is answered, though the body never comes")
	_ = resp.Body.Close()
	assert.Equal(t, http.StatusBadRequest, resp.StatusCode)
}

func TestTheKeysOfEventsThatCameAreBounded(t *testing.T) {
	t.Parallel()
	var s seen
	for i := range 30_000 {
		assert.False(t, s.before(fmt.Sprint(i)))
	}
	assert.True(t, s.before("29999"))
	assert.False(t, s.before("0"), "forgotten")
	assert.LessOrEqual(t, len(s.keys), 20_000)
	assert.False(t, s.before(""))
	assert.False(t, s.before(""), "without an id nothing is a duplicate")
}

// The endpoint of a listen is public, and a body may have 16 MiB.
func TestStrangersCantTakeAllMemory(t *testing.T) {
	t.Parallel()
	session, _ := newTestSession(t, "http://127.0.0.1:1", false)
	session.underWay = semaphore.NewWeighted(1000)
	server := httptest.NewServer(session)
	defer server.Close()
	send := func(n int) int {
		a, err := post(t.Context(), newSender(), server.URL, message{Header: http.Header{}, Body: make([]byte, n)})
		require.NoError(t, err)
		return a.Status
	}
	assert.Equal(t, http.StatusServiceUnavailable, send(1001), "the platform sends it again")
	assert.Equal(t, inspector.Refused, session.store.List(0)[0].Verdict)
	for range 3 {
		assert.NotEqual(t, http.StatusServiceUnavailable, send(900), "what was taken is given back")
	}
	require.True(t, session.underWay.TryAcquire(200))
	assert.Equal(t, http.StatusServiceUnavailable, send(900), "others hold the rest")
}

func TestAStatusThatIsNoneIsNoAnswer(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		_, _ = http.ReadRequest(bufio.NewReader(conn))
		_, _ = io.WriteString(conn, "HTTP/1.1 007 Bond\r\nContent-Length: 0\r\n\r\n")
		_ = conn.Close()
	}()
	session, _ := newTestSession(t, "http://"+listener.Addr().String(), false)
	server := httptest.NewServer(session)
	defer server.Close()
	a, err := post(t.Context(), newSender(), server.URL, draft{Event: "Pass:Installed", Body: []byte("{}")}.signed("the secret"))
	require.NoError(t, err)
	assert.Equal(t, http.StatusBadGateway, a.Status)
	assert.Contains(t, string(a.Body), "007")
}
