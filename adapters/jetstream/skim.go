package jetstream

import (
	"context"
	"sync"
)

const (
	skimFrom  = 256 // a backlog of so many is skimmed
	leastSkim = 64  // events at a time; doubled while all are of paused names
	mostSkim  = 1024
)

// noticeBacklog wakes skim for an event of a paused name behind which many others wait, maybe some of other names.
func (c *Consumer) noticeBacklog(d *delivery) {
	if d.meta.NumPending < skimFrom {
		return
	}
	select {
	case c.backlog <- struct{}{}:
	default:
	}
}

// skim takes events in parts while a backlog of paused names stands before those of other names: the workers, which take one at a time,
// would need long to get past it. Events of other names in such a part wait here for a slot; then the next part is small again.
func (c *Consumer) skim(run, ctx context.Context) {
	size := leastSkim
	for {
		select {
		case <-run.Done():
			return
		case <-c.backlog:
		}
		others, err := c.skimPart(run, ctx, size)
		if size = min(2*size, mostSkim); others > 0 || err != nil {
			size = leastSkim
		}
	}
}

// skimPart returns how many of the part were of other names, when these have been handled.
func (c *Consumer) skimPart(run, ctx context.Context, size int) (others int, err error) {
	consumer, err := c.attach(ctx)
	if err != nil {
		return 0, err
	}
	part, err := consumer.FetchNoWait(size)
	if err != nil {
		return 0, err
	}
	var serving sync.WaitGroup
	defer serving.Wait()
	for m := range part.Messages() {
		d, _ := c.open(ctx, m)
		if d == nil || c.diverted(ctx, d) {
			continue
		}
		others++
		d.keepAlive(c)
		serving.Go(func() {
			select {
			case c.slots <- struct{}{}:
				c.serve(run, ctx, d)
			case <-run.Done():
				c.giveBack(ctx, d, 0, false)
				d.stop()
			}
		})
	}
	return others, part.Error()
}
