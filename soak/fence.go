package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// atTheFence stops a receiver inside its function for longer than its lease. Another one takes the event over, the first is
// continued, and must not be able to complete the lease of the second.
func (r *round) atTheFence(ctx context.Context, c role, client *redis.Client, third string) error {
	if c.WithoutDeduper {
		return nil // there is no lease
	}
	const id = "fenced"
	ran := func(times int) func(context.Context) error {
		return func(ctx context.Context) error {
			if n, err := client.SCard(ctx, c.Prefix+"ran:"+id).Result(); err != nil || n != int64(times) {
				return errors.Join(fmt.Errorf("at the fence: the function ran %d times, not %d", n, times), err)
			}
			return nil
		}
	}

	// Its function outlives its time, and then its lease: 10 s more than the time.
	c.Timeout, c.Until = 500*time.Millisecond, c.Prefix+"first may end"
	firstMayEnd := c.Until
	first, firstAt, err := r.receiver("fence-first", c)
	if err != nil {
		return err
	}
	c.Timeout, c.Until = time.Minute, c.Prefix+"second may end"
	secondMayEnd := c.Until
	_, secondAt, err := r.receiver("fence-second", c)
	if err != nil {
		return err
	}
	fence := newPlatform(time.Second, 4, firstAt, secondAt, third)
	if err := fence.ready(ctx); err != nil {
		return err
	}
	toFirst, toSecond, toThird := fence.urls[0], fence.urls[1], fence.urls[2]

	firstAnswer := make(chan int, 1)
	go func() { // again where its time was over before its function began
		for {
			status := fence.try(ctx, toFirst, id, false)
			if client.SCard(ctx, c.Prefix+"ran:"+id).Val() > 0 || sleep(ctx, 100*time.Millisecond) != nil {
				firstAnswer <- status
				return
			}
		}
	}()
	if err := until(ctx, patience, ran(1)); err != nil {
		return err
	}
	leased := time.Now()
	first.signal(syscall.SIGSTOP, false)
	if err := until(ctx, patience, func(context.Context) error {
		if !first.isStopped() {
			return errors.New("at the fence: SIGSTOP has no effect")
		}
		return nil
	}); err != nil {
		return err
	}

	// The second gets 503 for as long as the lease lasts.
	secondAnswer := make(chan int, 1)
	held := 0
	go func() {
		for {
			status := fence.try(ctx, toSecond, id, false)
			if status != http.StatusServiceUnavailable {
				secondAnswer <- status
				return
			}
			held++
			if sleep(ctx, 100*time.Millisecond) != nil {
				secondAnswer <- 0
				return
			}
		}
	}()
	if err := until(ctx, time.Minute, ran(2)); err != nil {
		return err
	}
	took := time.Since(leased)
	if err := client.Set(ctx, firstMayEnd, 1, time.Hour).Err(); err != nil {
		return err
	}
	first.signal(syscall.SIGCONT, false)
	lateAnswer := <-firstAnswer // 503, since its time is over; 204 if its function is a moment faster: it did run
	refused := until(ctx, patience, func(context.Context) error {
		if first.logged("the lease is lost") != 1 {
			return errors.New("at the fence: the log of the one that was stopped doesn't say that its lease is lost")
		}
		return nil
	})
	meanwhile := fence.try(ctx, toThird, id, false) // must still be held
	if err := client.Set(ctx, secondMayEnd, 1, time.Hour).Err(); err != nil {
		return err
	}
	done := <-secondAnswer
	after := fence.try(ctx, toThird, id, false)
	r.say("fence: stopped past its lease, which another got after %.1fs (%d × 503 before); continued, it was answered with %d, its completing was refused: %t; "+
		"a third got %d while the second ran; the second got %d, the third then %d", took.Seconds(), held, lateAnswer, refused == nil, meanwhile, done, after)
	if meanwhile != http.StatusServiceUnavailable || done != http.StatusNoContent || after != http.StatusNoContent {
		r.wrong("at the fence: %d, %d, %d instead of 503, 204, 204", meanwhile, done, after)
	}
	return errors.Join(refused, ran(2)(ctx))
}
