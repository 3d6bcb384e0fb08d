package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// attach makes the consumer on the server. All the workers call it when a server comes back: it tries once a second, and those who wait for
// that wait no longer than their context.
func (c *Consumer) attach(ctx context.Context) (jetstream.Consumer, error) {
	return c.attachIfOlder(ctx, time.Second)
}

// confirm looks at once whether the consumer is still as this process wants it.
func (c *Consumer) confirm(ctx context.Context) error {
	_, err := c.attachIfOlder(ctx, 0)
	return err
}

func (c *Consumer) attachIfOlder(ctx context.Context, age time.Duration) (jetstream.Consumer, error) {
	select {
	case c.attaching <- struct{}{}:
		defer func() { <-c.attaching }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if time.Since(c.attached) > age || age == 0 {
		c.trouble = c.create(ctx, false)
		c.attached = time.Now()
	}
	return c.consumer, c.trouble
}

// create makes the consumer, unless it is there. The process that starts has its own settings for it; one that comes back must not
// undo what another has set since.
func (c *Consumer) create(ctx context.Context, starting bool) error {
	s := c.stream
	if status := s.nc.Status(); status != nats.CONNECTED {
		return fmt.Errorf("%w: %s", ErrUnavailable, status)
	}
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	seen := s.nc.LastError()
	consumer, err := s.js.Consumer(ctx, s.cfg.Name, c.cfg.Name)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		consumer, err = s.js.CreateConsumer(ctx, s.cfg.Name, c.want)
		if errors.Is(err, jetstream.ErrConsumerExists) { // another process was quicker, with something else
			consumer, err = s.js.Consumer(ctx, s.cfg.Name, c.cfg.Name)
		}
	case err != nil:
	case starting && slices.Equal(filtersOf(consumer), c.filters):
		want, have := c.want, consumer.CachedInfo().Config
		// These can't be changed.
		want.DeliverPolicy, want.OptStartSeq, want.OptStartTime, want.MaxWaiting = have.DeliverPolicy, have.OptStartSeq, have.OptStartTime, have.MaxWaiting
		consumer, err = s.js.UpdateConsumer(ctx, s.cfg.Name, want)
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && (api.ErrorCode == codeFilterTaken || api.ErrorCode == codeUnfilteredTaken) {
		return fmt.Errorf("jetstream: consumer %s: another consumer takes some of these events already, and in a work queue each "+
			"event has one: use its name, other patterns, or a stream with KeepFor: %w", c.cfg.Name, err)
	}
	if err != nil {
		return s.explain("create consumer "+c.cfg.Name, seen, err)
	}
	if have := filtersOf(consumer); !slices.Equal(have, c.filters) {
		return fmt.Errorf("%w: %s takes %s, not %s: stop its processes, delete it (Stream.DeleteConsumer), and start this one again, or use another name",
			ErrOtherPatterns, c.cfg.Name, strings.Join(have, ", "), strings.Join(c.filters, ", "))
	}
	c.consumer = consumer
	return nil
}

func filtersOf(consumer jetstream.Consumer) []string {
	cfg := consumer.CachedInfo().Config
	filters := slices.Clone(cfg.FilterSubjects)
	if cfg.FilterSubject != "" {
		filters = append(filters, cfg.FilterSubject)
	}
	slices.Sort(filters)
	return filters
}

// DeleteConsumer removes a consumer from the server, so that its name can have other patterns. First stop the processes that run it, then
// delete it, then start the processes with the new patterns. If a process still runs:
//
//   - It makes the consumer again as it was.
//   - Its function may run once more elsewhere.
//   - With some servers (seen with 2.10.22), the new consumer skips events if an acknowledgement comes late.
//
// On a work queue nothing is lost: events that aren't handled are still in the stream, and their tries count from 1 again. In a log
// (StreamConfig.KeepFor), the new consumer begins with the oldest event that is kept, even if that was handled.
//
// A consumer that isn't there is no error.
func (s *Stream) DeleteConsumer(ctx context.Context, name string) error {
	seen := s.nc.LastError()
	if err := s.js.DeleteConsumer(ctx, s.cfg.Name, name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return s.explain("delete consumer "+name, seen, err)
	}
	return nil
}

// complain logs what keeps the workers from working, once in a while for all of them.
func (c *Consumer) complain(ctx context.Context, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.told) > 10*time.Second {
		c.told = time.Now()
		c.cfg.Logger.WarnContext(ctx, "jetstream: no events can be fetched; trying again", slog.Any("error", err))
	}
}
