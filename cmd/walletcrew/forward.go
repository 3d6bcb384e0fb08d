package main

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// A forwarder hands deliveries to your service.
type forwarder struct {
	url    string
	client *http.Client
	queue  *queue // of --keep: nil without
	say    func(format string, args ...any)

	mu   sync.Mutex
	away bool // the last delivery got no answer
	lost int
}

// A forwarded is what became of a delivery.
type forwarded struct {
	answer
	Kept bool  // it waits for the service
	Err  error // why there was no answer
}

// forward sends a delivery. What gets no answer is kept, with --keep, and else lost: it says so. Then is called when a kept one got its
// answer, or is given up.
func (f *forwarder) forward(ctx context.Context, what string, m message, then func(answer, error)) forwarded {
	if f.queue != nil && f.queue.waiting() > 0 && f.queue.add(kept{what, m, then}) { // in order
		return forwarded{Kept: true}
	}
	a, err := post(ctx, f.client, f.url, m)
	if err == nil {
		f.answered()
		return forwarded{answer: a}
	}
	if f.queue != nil && f.queue.add(kept{what, m, then}) {
		f.silent("your service at %s doesn't answer (%v): what comes is kept, up to %d deliveries, and forwarded when it is back", f.url, err, f.queue.maxItems)
		return forwarded{answer: a, Kept: true, Err: err}
	}
	f.mu.Lock()
	f.lost++
	f.mu.Unlock()
	if f.queue != nil {
		f.say("the queue of --keep is full: %s is lost", what)
	} else {
		f.silent("your service at %s doesn't answer (%v): what comes is lost; --keep keeps it", f.url, err)
		f.say("lost: %s", what)
	}
	return forwarded{answer: a, Err: err}
}

// silent says once that the service is away.
func (f *forwarder) silent(format string, args ...any) {
	f.mu.Lock()
	said := f.away
	f.away = true
	f.mu.Unlock()
	if !said {
		f.say(format, args...)
	}
}

func (f *forwarder) answered() {
	f.mu.Lock()
	was := f.away
	f.away = false
	f.mu.Unlock()
	if was {
		f.say("your service at %s answers again", f.url)
	}
}

// run forwards what was kept, until ctx ends.
func (f *forwarder) run(ctx context.Context) {
	if f.queue == nil {
		return
	}
	const shortest, longest = 250 * time.Millisecond, 5 * time.Second
	pause, tries := shortest, 0
	for f.queue.wait(ctx) {
		k := f.queue.first()
		a, err := post(ctx, f.client, f.url, k.message)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			tries++
			f.answered()
		}
		refused := err == nil && a.Status/100 != 2
		if err != nil || refused && tries < maxKeptTries {
			k.then(a, err)
			if !sleep(ctx, pause) {
				return
			}
			pause = min(2*pause, longest)
			continue
		}
		if refused {
			f.say("lost: %s, which was kept: your service answered %d, %d times", k.what, a.Status, tries)
			f.mu.Lock()
			f.lost++
			f.mu.Unlock()
		}
		f.queue.removeFirst()
		k.then(a, nil)
		pause, tries = shortest, 0
		if left := f.queue.waiting(); left == 0 {
			f.say("all that was kept is forwarded")
		}
	}
}

// maxKeptTries is how often one that your service refuses is tried, so that it doesn't hold up the others for ever.
const maxKeptTries = 5

// end says what is lost.
func (f *forwarder) end() {
	f.mu.Lock()
	lost := f.lost
	f.mu.Unlock()
	if f.queue != nil {
		if left := f.queue.waiting(); left > 0 {
			f.say("%d deliveries were still kept for your service, and are lost", left)
		}
	}
	if lost > 0 {
		f.say("%d deliveries were lost, since your service didn't answer", lost)
	}
}

// A kept delivery waits for your service.
type kept struct {
	what string // for a person
	message
	then func(answer, error)
}

// A queue holds what is kept: it is bounded, and safe for concurrent use.
type queue struct {
	maxItems int
	maxBytes int

	mu    sync.Mutex
	items []kept
	bytes int
	more  chan struct{}
}

func newQueue(maxItems, maxBytes int) *queue {
	return &queue{maxItems: maxItems, maxBytes: maxBytes, more: make(chan struct{}, 1)}
}

// add reports whether there was room.
func (q *queue) add(k kept) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) >= q.maxItems || q.bytes+len(k.Body) > q.maxBytes {
		return false
	}
	q.items = append(q.items, k)
	q.bytes += len(k.Body)
	select {
	case q.more <- struct{}{}:
	default:
	}
	return true
}

func (q *queue) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items)
}

// wait returns when something is kept; false when ctx ends.
func (q *queue) wait(ctx context.Context) bool {
	for q.waiting() == 0 {
		select {
		case <-q.more:
		case <-ctx.Done():
			return false
		}
	}
	return ctx.Err() == nil
}

func (q *queue) first() kept {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.items[0]
}

func (q *queue) removeFirst() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.bytes -= len(q.items[0].Body)
	q.items[0] = kept{}
	q.items = q.items[1:]
}

// sleep reports whether the time passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
