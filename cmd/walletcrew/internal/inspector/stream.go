package inspector

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	streamPause = 100 * time.Millisecond // between two messages: however many deliveries come, the page is told ten times a second
	streamIdle  = 15 * time.Second       // then a comment, so that a page that has gone is noticed
	streamWrite = 10 * time.Second       // a page that doesn't read for so long is gone
	streamItems = 2000                   // in one message
)

// An item is a delivery as a row of the list.
type item struct {
	Seq        uint64  `json:"seq"`
	ID         string  `json:"id"`
	Time       int64   `json:"time"` // Unix, in milliseconds
	Event      string  `json:"event"`
	Tenant     string  `json:"tenant"`
	EventID    string  `json:"eventId"`
	Verdict    string  `json:"verdict"`
	Duplicate  bool    `json:"duplicate"`
	Forwarded  bool    `json:"forwarded"`
	Status     int     `json:"status"`
	DurationMs float64 `json:"durationMs"`
	Failed     bool    `json:"failed"`
	Size       int     `json:"size"`
}

func newItem(e *entry, hide func(string) string) item {
	return item{
		Seq: e.seq, ID: e.ID, Time: e.Time.UnixMilli(), Event: hide(e.Event), Tenant: hide(e.Tenant), EventID: hide(e.EventID),
		Verdict: e.Verdict, Duplicate: e.Duplicate, Forwarded: e.ForwardURL != "", Status: e.Status,
		DurationMs: float64(e.Duration.Microseconds()) / 1000, Failed: e.Error != "", Size: len(e.Body),
	}
}

// A message is what the stream sends: rows that are new or changed.
type message struct {
	Instance string `json:"instance"`
	Oldest   uint64 `json:"oldest"` // rows before it are gone
	Items    []item `json:"items"`
}

// serveStream sends server-sent events. An event's id is "instance-revision": a page that connects again gets only what is new.
func (i *Inspector) serveStream(w http.ResponseWriter, r *http.Request) {
	ctx, out := r.Context(), http.NewResponseController(w)
	changed := i.store.Subscribe(ctx)
	w.Header().Set("Content-Type", "text/event-stream")
	revision := i.after(r)
	send := func(text string) error {
		_ = out.SetWriteDeadline(time.Now().Add(streamWrite))
		if _, err := fmt.Fprint(w, text); err != nil {
			return err
		}
		return out.Flush()
	}
	if send("retry: 1000\n\n") != nil {
		return
	}
	idle := time.NewTimer(0)
	defer idle.Stop()
	for first := true; ; first = false {
		entries, now, oldest := i.store.since(revision)
		if first || now != revision {
			text, err := i.messages(entries, now, oldest)
			if err != nil || send(text) != nil {
				return
			}
		} else if send(":\n\n") != nil {
			return
		}
		revision = now
		if !wait(i, r, streamPause, nil, idle) || !wait(i, r, streamIdle, changed, idle) {
			return
		}
	}
}

// wait returns after d, or when something is in changed; false: the stream is over.
func wait(i *Inspector, r *http.Request, d time.Duration, changed <-chan struct{}, timer *time.Timer) bool {
	timer.Reset(d)
	select {
	case <-r.Context().Done():
		return false
	case <-i.closed.Done():
		return false
	case <-changed:
	case <-timer.C:
	}
	return true
}

// after is the revision that the page has; 0 if it has nothing of this process.
func (i *Inspector) after(r *http.Request) uint64 {
	last := r.Header.Get("Last-Event-ID")
	if last == "" {
		last = r.URL.Query().Get("after")
	}
	instance, revision, _ := strings.Cut(last, "-")
	if instance != i.instance {
		return 0
	}
	n, err := strconv.ParseUint(revision, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// short is what a row shows of a text that a sender chose: a header may have a megabyte, and the page holds 10,000 rows.
func short(text string) string {
	const most = 200
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// messages are one or more events; only the last has an id, since the entries stand in the order of arrival and not of change.
func (i *Inspector) messages(entries []*entry, revision, oldest uint64) (string, error) {
	var b strings.Builder
	hide := i.hider()
	for {
		n := min(len(entries), streamItems)
		m := message{Instance: i.instance, Oldest: oldest, Items: make([]item, 0, n)}
		for _, e := range entries[:n] {
			row := newItem(e, hide)
			row.Event, row.Tenant, row.EventID = short(row.Event), short(row.Tenant), short(row.EventID)
			m.Items = append(m.Items, row)
		}
		entries = entries[n:]
		if len(entries) == 0 {
			fmt.Fprintf(&b, "id: %s-%d\n", i.instance, revision)
		}
		data, err := json.Marshal(m) // one line: JSON escapes line breaks
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "data: %s\n\n", data)
		if len(entries) == 0 {
			return b.String(), nil
		}
	}
}
