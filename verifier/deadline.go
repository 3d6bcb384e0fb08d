package verifier

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// A deadlineContext is a request's context with a deadline. A timer, and a place among the request's children, it costs only once
// somebody asks for Done, as context.WithDeadline does always.
type deadlineContext struct {
	context.Context // the request's
	deadline        time.Time

	mu     sync.Mutex
	timed  context.Context // nil until it is needed
	cancel context.CancelFunc
	ended  bool
}

// Deadline returns the earlier of the deadline and the request's.
func (c *deadlineContext) Deadline() (time.Time, bool) {
	if theirs, ok := c.Context.Deadline(); ok && theirs.Before(c.deadline) {
		return theirs, true
	}
	return c.deadline, true
}

// Done makes the real context.
func (c *deadlineContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.real().Done()
}

// Err makes the real context if it says anything.
func (c *deadlineContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timed == nil && !c.ended && c.Context.Err() == nil && time.Now().Before(c.deadline) {
		return nil
	}
	return c.real().Err()
}

// String is what fmt prints, which would read the fields without the lock.
func (c *deadlineContext) String() string {
	return fmt.Sprintf("%v.WithDeadline(%s)", c.Context, c.deadline.Format(time.RFC3339Nano))
}

// Value asks the real context if there is one: that of a package context finds its parent by a value.
func (c *deadlineContext) Value(key any) any {
	c.mu.Lock()
	timed := c.timed
	c.mu.Unlock()
	if timed != nil {
		return timed.Value(key)
	}
	return c.Context.Value(key)
}

func (c *deadlineContext) real() context.Context {
	switch {
	case c.timed != nil:
	case c.ended: // in time: that it is asked for later changes nothing
		c.timed, c.cancel = context.WithCancel(c.Context)
		c.cancel()
	default:
		c.timed, c.cancel = context.WithDeadline(c.Context, c.deadline)
	}
	return c.timed
}

// end cancels the context, if it hasn't ended by itself.
func (c *deadlineContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.cancel != nil {
		c.cancel()
	}
}

// deadlines ends the time of calls, with one timer for all of them: since all have the same time, they stand in the order of
// their deadlines.
type deadlines struct {
	mu          sync.Mutex
	first, last *call
	timer       *time.Timer // nil where there is no call: a handler that rests keeps nothing running
}

func (d *deadlines) add(c *call) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.last == nil {
		d.first = c
		d.timer = time.AfterFunc(c.handler.timeout, d.sweep)
	} else {
		d.last.later, c.earlier = c, d.last
	}
	d.last = c
}

// remove may be called for one whose time has ended.
func (d *deadlines) remove(c *call) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.unlink(c)
}

func (d *deadlines) unlink(c *call) {
	switch {
	case c.earlier != nil:
		c.earlier.later = c.later
	case d.first == c:
		d.first = c.later
	default:
		return // it was before
	}
	if c.later != nil {
		c.later.earlier = c.earlier
	} else {
		d.last = c.earlier
	}
	c.earlier, c.later = nil, nil
	if d.first == nil {
		d.timer.Stop()
		d.timer = nil
	}
}

// sweep ends the time of those that are due. The timer isn't stopped for a call that comes to its end while others go on: it then
// finds those, due later.
func (d *deadlines) sweep() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for c := d.first; c != nil; c = d.first {
		if left := time.Until(c.ctx.deadline); left > 0 {
			d.timer.Reset(left)
			return
		}
		c.endings <- ending{} // there is room
		d.unlink(c)
	}
}
