package main

import (
	"bytes"
	"context"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	walletcrew "github.com/thewalletcrew/walletcrew-go"
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

func (o *output) has(t *testing.T, what string) {
	t.Helper()
	for began := time.Now(); time.Since(began) < 20*time.Second; time.Sleep(10 * time.Millisecond) {
		o.mu.Lock()
		found := strings.Contains(o.text.String(), what)
		o.mu.Unlock()
		if found {
			return
		}
	}
	t.Fatalf("the output lacks %q:\n%s", what, o.text.String())
}

func capture(t *testing.T) *output {
	o := new(output)
	log.SetOutput(o)
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	return o
}

func TestTheDemoEndsByItself(t *testing.T) {
	out := capture(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := demo(ctx); err != nil {
		t.Fatal(err)
	}
	out.has(t, "done: 3 handled, 1 discarded, of 5 deliveries of 4 events")
}

func freeAddress(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// The roles, each as its own process would run it.
func TestThreeRoles(t *testing.T) {
	out := capture(t)
	c := config{nats: "nats://" + freeAddress(t), listen: freeAddress(t), data: t.TempDir(), secret: "a-secret"}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var roles sync.WaitGroup
	for _, role := range []struct{ name, says string }{{"stream", "stream: at"}, {"receiver", "receiver: at"}} {
		c.role = role.name
		roles.Go(func(c config) func() {
			return func() {
				if err := c.run(ctx); err != nil {
					t.Errorf("%s: %v", c.role, err)
				}
			}
		}(c))
		out.has(t, role.says)
	}
	body := `{"__id":"1","passId":"p-1","device":"apple"}`
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.listen+"/webhooks/walletcrew", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set(walletcrew.HeaderSignature, walletcrew.Sign(c.secret, []byte(body)))
	r.Header.Set(walletcrew.HeaderEventName, "Pass:Installed")
	r.Header.Set(walletcrew.HeaderTenantID, "acme")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Fatal(resp.Status)
	}

	working, stop := context.WithCancel(ctx)
	c.role = "worker"
	ended := make(chan error, 1)
	go func() { ended <- c.run(working) }()
	out.has(t, "worker:   Pass:Installed (1): pass p-1 on apple")
	stop()
	if err := <-ended; err != nil {
		t.Error("worker:", err)
	}
	cancel()
	roles.Wait()
}

func TestWhatIsMissingIsSaid(t *testing.T) {
	for want, c := range map[string]config{
		"-role x":           {role: "x"},
		"can't be reached":  {role: "worker", nats: "nats://127.0.0.1:1"},
		"WALLETCREW_SECRET": {role: "all", data: t.TempDir(), listen: "127.0.0.1:0"},
	} {
		if err := c.run(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
