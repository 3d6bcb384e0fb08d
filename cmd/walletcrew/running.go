package main

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A running session stands in a file of the configuration directory, mode 0600, so that the other commands find it: running/ID.json. A
// listen writes it before it registers anything, so that what is left after a crash can be found.
type running struct {
	Session   string    `json:"session"`
	Mode      string    `json:"mode"` // "dev" or "listen"
	Started   time.Time `json:"started"`
	Inspector string    `json:"inspector"`
	Token     string    `json:"token"` // of its local API
	Tenant    string    `json:"tenant"`
	BaseURL   string    `json:"baseUrl,omitempty"` // of listen
	Endpoint  string    `json:"endpoint,omitempty"`
}

func runningDir() (string, error) {
	dir, err := configDir()
	return filepath.Join(dir, "running"), err
}

func (r running) file() (string, error) {
	dir, err := runningDir()
	return filepath.Join(dir, r.Session+".json"), err
}

func (r running) write() error {
	file, err := r.file()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return writePrivate(file, text)
}

func (r running) remove() error {
	file, err := r.file()
	if err != nil {
		return err
	}
	return os.Remove(file)
}

// alive reports whether the session answers.
func (r running) alive(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var session struct {
		Session string `json:"session"`
	}
	err := r.call(ctx, http.MethodGet, "session", nil, &session)
	return err == nil && session.Session == r.Session
}

// sessions returns those that the files name, the newest first.
func sessions() ([]running, error) {
	dir, err := runningDir()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var list []running
	for _, entry := range entries {
		text, readErr := os.ReadFile(filepath.Join(dir, entry.Name())) //nolint:gosec // of our own directory
		var r running
		if readErr == nil && json.Unmarshal(text, &r) == nil && r.Session+".json" == entry.Name() {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b running) int { return b.Started.Compare(a.Started) })
	return list, err
}

// findSession returns the session that runs: the newest, or the one whose inspector was named. A dead dev is forgotten on the way.
func findSession(ctx context.Context, inspectorURL string) (running, error) {
	list, err := sessions()
	if err != nil {
		return running{}, err
	}
	for _, r := range list {
		if inspectorURL != "" && strings.TrimRight(inspectorURL, "/") != r.Inspector {
			continue
		}
		if r.alive(ctx) {
			return r, nil
		}
		if r.Mode == "dev" && ctx.Err() == nil {
			_ = r.remove()
		}
	}
	return running{}, errNoSession
}

var errNoSession = errors.New("no `walletcrew dev` or `walletcrew listen` of yours runs here: start one, or name your service with --to")

const (
	localPath   = "/_walletcrew/"
	localHeader = "X-Walletcrew-Token"
)

// call asks the session's local API.
func (r running) call(ctx context.Context, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, r.Inspector+localPath+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set(localHeader, r.Token)
	resp, err := localClient.Do(req)
	if err != nil {
		return plainError(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(strings.TrimSpace(string(text)))
	}
	return json.Unmarshal(text, out)
}

// localClient asks this machine only: no proxy, and no redirect, which could lead the token elsewhere.
var localClient = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, CheckRedirect: dontFollow}

// A localDelivery is a record as resend gets it.
type localDelivery struct {
	Event  string      `json:"event"`
	Header http.Header `json:"header"`
	Body   []byte      `json:"body"`
}

// localAPI is what the other commands ask a running session. The token stands in the session's file, which nobody else can read.
func (s *session) localAPI(token string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+localPath+"session", func(w http.ResponseWriter, _ *http.Request) {
		answerJSON(w, map[string]string{"session": s.id}, nil)
	})
	mux.HandleFunc("GET "+localPath+"deliveries/{id}", func(w http.ResponseWriter, r *http.Request) {
		record, err := s.get(r.PathValue("id"))
		answerJSON(w, localDelivery{record.Event, record.Header, record.Body}, err)
	})
	mux.HandleFunc("POST "+localPath+"deliveries/{id}/replay", func(w http.ResponseWriter, r *http.Request) {
		var to struct{ To string }
		if err := json.NewDecoder(r.Body).Decode(&to); err != nil {
			answerJSON(w, nil, err)
			return
		}
		res, err := s.localReplay(r.Context(), r.PathValue("id"), to.To)
		answerJSON(w, res, err)
	})
	mux.HandleFunc("POST "+localPath+"send", func(w http.ResponseWriter, r *http.Request) {
		var d draft
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 2*maxBody)).Decode(&d); err != nil {
			answerJSON(w, nil, err)
			return
		}
		got, err := s.send(r.Context(), d)
		answerJSON(w, newResult(d.Event, d.Body, got.answer, got.Err), err)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLocalHost(r.Host) || subtle.ConstantTimeCompare([]byte(r.Header.Get(localHeader)), []byte(token)) != 1 {
			http.Error(w, "walletcrew: no", http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// localReplay signs a delivery anew and delivers it, or sends it to another URL.
func (s *session) localReplay(ctx context.Context, id, to string) (result, error) {
	r, err := s.get(id)
	if err != nil {
		return result{}, err
	}
	if to == "" {
		got, err := s.replay(ctx, id)
		return newResult(r.Event, r.Body, got.answer, got.Err), err
	}
	secret, err := s.signer(ctx, "")
	if err != nil {
		return result{}, err
	}
	a, err := post(ctx, localSender, to, draft{Event: r.Event, Tenant: r.Tenant, Body: r.Body}.signed(secret))
	return newResult(r.Event, r.Body, a, err), nil
}

var localSender = newSender()

func answerJSON(w http.ResponseWriter, v any, err error) {
	if err != nil {
		http.Error(w, oneLine(err), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = writeJSON(w, v)
}

// isLocalHost reports whether a Host header names this machine: a page that had its own name resolve to 127.0.0.1 doesn't.
func isLocalHost(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	name = strings.Trim(name, "[]")
	ip := net.ParseIP(name)
	return strings.EqualFold(name, "localhost") || ip != nil && ip.IsLoopback()
}

// checkTarget refuses what nothing can be sent to.
func checkTarget(flag, target string) error {
	u, err := url.Parse(target)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return usagef("%s %s: it is a URL such as http://localhost:8080/webhooks", flag, target)
	}
	return nil
}

// sampleTenant is the tenant of a delivery that the user makes.
func sampleTenant(given string) string {
	for _, tenant := range []string{given, os.Getenv("WALLETCREW_TENANT_ID")} {
		if tenant != "" {
			return tenant
		}
	}
	return devTenant
}
