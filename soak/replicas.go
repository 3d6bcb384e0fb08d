package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/thewalletcrew/walletcrew-go/internal/freeport"
)

const replicaCount = 4

// replicas: 4 receivers share one Redis, and each event comes twice, half of them at the same moment.
func (r *round) replicas(ctx context.Context) error {
	events := r.events
	if events == 0 {
		events = 50_000
	}
	client := newRedis(r.redis, patience)
	defer func() { _ = client.Close() }()
	if err := until(ctx, patience, func(ctx context.Context) error { return client.Ping(ctx).Err() }); err != nil {
		return skipped{"no Redis: " + err.Error()}
	}
	c := role{Name: "receiver", Function: "count", Timeout: 5 * time.Second, Redis: r.redis, WithoutDeduper: r.broken,
		Prefix: fmt.Sprintf("soak:%08x:", rand.Uint32())} //nolint:gosec // not repeated with -seed, so that runs don't meet
	defer clean(client, c.Prefix)

	receivers := make([]*process, replicaCount)
	addresses := make([]string, replicaCount)
	for i := range receivers {
		var err error
		if receivers[i], addresses[i], err = r.receiver("receiver-"+strconv.Itoa(i), c); err != nil {
			return err
		}
	}
	platform := newPlatform(20*time.Millisecond, 64, addresses...)
	if err := platform.ready(ctx); err != nil {
		return err
	}

	deliveries := plan(r.random, events, events)
	var parts sync.WaitGroup
	var fenceErr error
	if r.fence {
		parts.Go(func() { fenceErr = r.atTheFence(ctx, c, client, addresses[0]) })
	}
	began := time.Now()
	err := platform.all(ctx, deliveries)
	took := time.Since(began)
	parts.Wait()
	if err = errors.Join(err, fenceErr); err != nil {
		return err
	}

	runs, err := ran(ctx, client, c.Prefix, events)
	if err != nil {
		return err
	}
	lost := 0
	for _, p := range receivers {
		lost += p.logged("the lease is lost")
	}
	attempts := platform.taken()
	r.say("receivers %d, events %d, deliveries %d, attempts %d (%s) in %.1fs, %.0f a second", replicaCount, events, len(deliveries), len(attempts),
		count(attempts), took.Seconds(), float64(len(attempts))/took.Seconds())
	r.say("functions run %d, lost %d, doubled %d; leases that ran out %d", runs.rows, len(runs.lost), len(runs.doubled), lost)
	r.judge(runs)
	return nil
}

// receiver starts one at an address of its own.
func (r *round) receiver(name string, c role) (p *process, address string, err error) {
	if c.Listen, err = freeport.Address(); err != nil {
		return nil, "", err
	}
	p, err = r.spawnRole(name, c)
	return p, c.Listen, err
}

// ran returns how often each event's function ran.
func ran(ctx context.Context, client *redis.Client, prefix string, events int) (tally, error) {
	const batch = 1000
	var ids []string
	for from := 0; from < events; from += batch {
		var calls []*redis.IntCmd
		_, err := client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for n := from; n < min(from+batch, events); n++ {
				calls = append(calls, p.SCard(ctx, prefix+"ran:"+eventID(n)))
			}
			return nil
		})
		if err != nil {
			return tally{}, err
		}
		for i, n := range calls {
			for range n.Val() {
				ids = append(ids, eventID(from+i))
			}
		}
	}
	return tallyOf(ids, events), nil
}

// clean removes what the round left on the server.
func clean(client *redis.Client, prefix string) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var batch []string
	keys := client.Scan(ctx, 0, prefix+"*", 1000).Iterator()
	for keys.Next(ctx) {
		if batch = append(batch, keys.Val()); len(batch) == 1000 {
			client.Unlink(ctx, batch...)
			batch = nil
		}
	}
	if len(batch) > 0 {
		client.Unlink(ctx, batch...)
	}
}
