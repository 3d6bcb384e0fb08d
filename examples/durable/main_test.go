package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
	"github.com/thewalletcrew/walletcrew-go/adapters/jetstream"
)

// output collects what is logged.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

// has waits for what matches the pattern, and returns its first group.
func (o *output) has(t *testing.T, pattern string) string {
	t.Helper()
	expression := regexp.MustCompile(pattern)
	for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(10 * time.Millisecond) {
		o.mu.Lock()
		found := expression.FindStringSubmatch(o.text.String())
		o.mu.Unlock()
		if found != nil {
			return found[len(found)-1]
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	t.Fatalf("the output lacks %q:\n%s", pattern, o.text.String())
	return ""
}

func capture(t *testing.T) *output {
	o := new(output)
	log.SetOutput(o)
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	return o
}

func TestTheDemoEndsByItself(t *testing.T) {
	out := capture(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := demo(ctx); err != nil {
		t.Fatal(err)
	}
	out.has(t, "done: 3 handled, 1 discarded, of 5 deliveries of 4 events")
}

// deliver sends a delivery, and wants it accepted.
func deliver(t *testing.T, endpoint string, secret walletcrew.Secret, tenant, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, endpoint, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set(walletcrew.HeaderSignature, walletcrew.Sign(secret, []byte(body)))
	r.Header.Set(walletcrew.HeaderEventName, "Pass:Installed")
	r.Header.Set(walletcrew.HeaderTenantID, tenant)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Fatal(resp.Status)
	}
}

// The roles, each as its own process would run it.
func TestThreeRoles(t *testing.T) {
	out := capture(t)
	c := config{nats: "nats://127.0.0.1:0", listen: "127.0.0.1:0", data: t.TempDir(), secret: "a-secret"}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var roles sync.WaitGroup
	begin := func(role, says string) string {
		c.role = role
		roles.Go(func(c config) func() {
			return func() {
				if err := c.run(ctx); err != nil {
					t.Errorf("%s: %v", c.role, err)
				}
			}
		}(c))
		return out.has(t, says)
	}
	c.nats = begin("stream", `stream: at (\S+)`)
	endpoint := begin("receiver", `receiver: at (\S+)`)
	deliver(t, endpoint, c.secret, "acme", `{"__id":"1","passId":"p-1","device":"apple"}`)

	working, stop := context.WithCancel(ctx)
	c.role = "worker"
	ended := make(chan error, 1)
	go func() { ended <- c.run(working) }()
	out.has(t, `worker:   Pass:Installed \(1\): pass p-1 on apple`)
	stop()
	if err := <-ended; err != nil {
		t.Error("worker:", err)
	}
	cancel()
	roles.Wait()
}

// A sender who has captured one delivery can write any tenant into its header, which isn't signed. That must not fill the disk.
func TestACapturedDeliveryIsOneMessageUnderWhateverTenant(t *testing.T) {
	out := capture(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var roles sync.WaitGroup
	defer roles.Wait()
	defer cancel()
	c := config{listen: "127.0.0.1:0", data: t.TempDir(), secret: "a-secret"}
	begin := func(role, address string) {
		c := c
		c.role, c.nats = role, address
		roles.Go(func() {
			if err := c.run(ctx); err != nil {
				t.Errorf("%s: %v", role, err)
			}
		})
	}
	begin("stream", "nats://127.0.0.1:0")
	address := out.has(t, `stream: at (\S+)`)
	begin("receiver", address)
	endpoint := out.has(t, `receiver: at (\S+)`)
	body := `{"__id":"1","x":"` + strings.Repeat("x", 200<<10) + `"}`
	for i := range 20 {
		deliver(t, endpoint, c.secret, fmt.Sprint("t", i), body)
	}
	nc, err := jetstream.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := nc.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	info, err := js.StreamInfo("WALLETCREW")
	if err != nil {
		t.Fatal(err)
	}
	if info.State.Msgs != 1 {
		t.Errorf("20 deliveries of one body are %d messages, %d bytes", info.State.Msgs, info.State.Bytes)
	}
}

func TestAnOperatorDealsWithDeadLetters(t *testing.T) {
	out := capture(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended, data := make(chan error, 1), t.TempDir()
	var stream sync.WaitGroup
	stream.Go(func() {
		if err := (config{role: "stream", nats: "nats://127.0.0.1:0", data: data}).run(ctx); err != nil {
			t.Error("stream:", err)
		}
	})
	defer stream.Wait() // before its directory is removed
	defer cancel()
	nc, err := jetstream.Connect(out.has(t, `stream: at (\S+)`))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	working, stop := context.WithCancel(ctx)
	defer stop()
	go func() { ended <- config{role: "worker"}.work(working, nc) }()
	js, err := nc.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if _, err := js.ConsumerInfo("WALLETCREW", "example"); err == nil {
			break
		}
		if time.Since(began) > time.Minute {
			t.Fatal("the worker does not begin")
		}
	}
	for range 3 {
		if _, err := js.Publish("walletcrew.acme.Pass.Installed", []byte("not JSON")); err != nil {
			t.Fatal(err)
		}
	}
	run := func(args ...string) string {
		t.Helper()
		var text bytes.Buffer
		if err := dead(ctx, nc, &text, args); err != nil {
			t.Fatal(err)
		}
		return text.String()
	}
	ids := func() (all []string) {
		for _, line := range strings.Split(run(), "\n")[1:] {
			if id, _, ok := strings.Cut(line, " "); ok {
				all = append(all, id)
			}
		}
		return all
	}
	for began := time.Now(); len(ids()) < 3; time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatalf("no dead letters: %s", run("list"))
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	all := ids()
	if text := run("show", all[0]); !strings.Contains(text, "not JSON") || !strings.Contains(text, all[0]) {
		t.Errorf("show lacks what there is to see: %s", text)
	}
	if text := run("redrive", all[0]); text != all[0]+" put back\n" {
		t.Error(text)
	}
	if text := run("delete", all[1]); text != all[1]+" deleted\n" {
		t.Error(text)
	}
	err = dead(ctx, nc, io.Discard, []string{"delete", all[0], all[1], all[2]})
	if !errors.Is(err, jetstream.ErrNoDeadLetter) || strings.Contains(err.Error(), "delete "+all[2]) {
		t.Errorf("got %v: the first two are gone, and the third isn't held up by them", err)
	}
	if left := ids(); len(left) != 0 {
		t.Errorf("%v are left", left)
	}
	run("delete", "all")
	for _, args := range [][]string{{"list", "x"}, {"show"}, {"redrive"}, {"delete"}, {"burn", "x"}, {"show", "all"}} {
		if err := dead(ctx, nc, io.Discard, args); err == nil || !strings.Contains(err.Error(), "usage") {
			t.Errorf("%v: got %v", args, err)
		}
	}
	asked, cancelAsked := context.WithTimeout(ctx, time.Minute)
	defer cancelAsked()
	if err := (config{role: "dead", nats: nc.ConnectedUrl(), args: []string{"show"}}).run(asked); err == nil || !strings.Contains(err.Error(), "usage") {
		t.Errorf("-role dead show: got %v", err)
	}
	if info, err := js.StreamInfo("WALLETCREW"); err != nil || info.State.Msgs != 1 {
		t.Errorf("one event was put back: %+v, %v", info, err)
	}
}

func TestWhatIsMissingIsSaid(t *testing.T) {
	for want, c := range map[string]config{
		"-role x":           {role: "x"},
		"can't be reached":  {role: "worker", nats: "nats://127.0.0.1:1"},
		"WALLETCREW_SECRET": {role: "all", data: t.TempDir(), listen: "127.0.0.1:0"},
		"address":           {role: "all", data: t.TempDir(), listen: "127.0.0.1", secret: "a-secret"},
	} {
		if err := c.run(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// What would be ignored in silence, or listen nowhere.
func TestWhereTheStreamListensIsSaidInFull(t *testing.T) {
	for _, address := range []string{"localhost:14222", "127.0.0.1:14222", "nats://127.0.0.1", "nats://:14222", "tls://127.0.0.1:14222", "nats://127.0.0.1:14222/x", "nats://admin:s3cret@127.0.0.1:14222", "nats://admin:s3c/ret@127.0.0.1:14222"} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		err := config{role: "stream", nats: address, data: t.TempDir()}.run(ctx)
		cancel()
		if err == nil || !strings.Contains(err.Error(), "nats://host:port") || strings.Contains(err.Error(), "s3c") {
			t.Errorf("%s: got %v", address, err)
		}
	}
}

func TestWhatAWorkerCouldNotFinishIsSaidAtItsEnd(t *testing.T) {
	out := capture(t)
	streaming, endStream := context.WithCancel(t.Context())
	defer endStream()
	ended := make(chan error, 1)
	stream := config{role: "stream", nats: "nats://127.0.0.1:0", data: t.TempDir()}
	go func() { ended <- stream.run(streaming) }()
	address := out.has(t, `stream: at (\S+)`)
	nc, err := jetstream.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	working, endWorker := context.WithCancel(t.Context())
	defer endWorker()
	result := make(chan error, 1)
	go func() { result <- config{role: "worker"}.work(working, nc) }()
	js, err := nc.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if info, err := js.ConsumerInfo("WALLETCREW", "example"); err == nil && info.NumWaiting > 0 {
			break
		}
		if time.Since(began) > time.Minute {
			t.Fatal("the worker does not ask for events")
		}
	}
	endStream()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	endWorker()
	if err := <-result; !errors.Is(err, jetstream.ErrUnavailable) {
		t.Errorf("got %v: the last acknowledgements are lost with the server", err)
	}
}
