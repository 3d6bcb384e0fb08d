package redisdedupe

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// ErrEviction means that the server removes keys when it reaches its memory limit: its maxmemory-policy isn't noeviction. All keys here
// expire, so the volatile policies remove them, too. Then events are forgotten early and handled again. [Deduper.Check] returns this error
// only if everything else is right, so your program may choose to go on:
//
//	if err := deduper.Check(ctx); errors.Is(err, redisdedupe.ErrEviction) {
//		slog.Warn("duplicates may get through", "error", err)
//	} else if err != nil {
//		return err
//	}
var ErrEviction = errors.New("redisdedupe: the server may evict what is remembered")

const minVersion = 5 // scripts replicate what they wrote, and so may ask for the time first

// Check finds at the start of a program the faults that would show later. It returns an error if the server
//
//   - can't be reached
//   - refuses the credentials or the commands
//   - is older than Redis 5
//   - is a read-only replica
//   - is a node of a cluster, and the client isn't for a cluster
//   - may evict keys ([ErrEviction])
//
// In a cluster it asks all primaries. It takes and releases a key of its own.
//
// If the server writes no append-only file, that is no error: a restart is rare, and at worst your function runs a second time. Check logs
// a warning about it, see [WithLogger].
//
// The server's user needs the commands ping, info, eval, evalsha, get, set, del and time, on keys that begin with the prefix and the name.
// For a cluster it needs three more, which go-redis sends by itself: "cluster slots", asking and command.
func (d *Deduper) Check(ctx context.Context) error {
	if err := d.check(ctx); err != nil {
		return fmt.Errorf("redisdedupe: Check: %w", err)
	}
	return nil
}

func (d *Deduper) check(ctx context.Context) error {
	if err := d.client.Ping(ctx).Err(); err != nil {
		return explain(err)
	}
	eviction, err := d.checkNodes(ctx)
	if err != nil {
		return err
	}
	key := "check/" + rand.Text()
	claim, err := d.Claim(ctx, key, time.Minute)
	if err != nil {
		return err
	}
	if err := d.Release(ctx, key, claim.Token); err != nil {
		return err
	}
	return eviction
}

// checkNodes asks each server that is written to what it is. Eviction is not nil where all else is right.
func (d *Deduper) checkNodes(ctx context.Context) (eviction, err error) {
	var forgetful atomic.Bool
	checkNode := func(ctx context.Context, node infoer) error {
		info, err := node.Info(ctx).Result()
		if err != nil {
			return explain(err)
		}
		if fields(info)["aof_enabled"] == "0" { // a managed server may not say
			forgetful.Store(true)
		}
		return checkInfo(info)
	}
	defer func() {
		if err == nil && forgetful.Load() {
			d.warn(ctx)
		}
	}()
	switch client := d.client.(type) {
	case *redis.ClusterClient:
		var mu sync.Mutex
		err = client.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
			if err := checkRefusals(ctx, node); err != nil {
				return err
			}
			err := checkNode(ctx, node)
			if errors.Is(err, ErrEviction) { // the nodes are asked at once, and one of their errors comes back: this isn't to be it
				mu.Lock()
				defer mu.Unlock()
				eviction, err = err, nil
			}
			return err
		})
		return eviction, err
	case *redis.Client:
		if err = checkNode(ctx, client); err == nil || errors.Is(err, ErrEviction) {
			if slots, clusterErr := client.ClusterInfo(ctx).Result(); clusterErr == nil && fields(slots).number("cluster_size") > 1 {
				return nil, errors.New("the server is one node of a cluster: use redis.NewClusterClient")
			}
		}
	default:
		err = checkNode(ctx, client)
	}
	if errors.Is(err, ErrEviction) {
		return err, nil
	}
	return nil, err
}

func (d *Deduper) warn(ctx context.Context) {
	logger := d.logger
	if logger == nil {
		logger = slog.Default()
	}
	logger.WarnContext(ctx, "redisdedupe: the server writes no append-only file: after its restart, events that it has forgotten are handled again "+
		"if they are delivered again; set \"appendonly yes\"")
}

// checkRefusals tries what a ClusterClient sends of its own: ASKING, to the node that a slot is being moved to, so a lack of it
// would first show in the middle of a migration; and COMMAND, for which it would ask again before each script. Any other error of the
// server's is none here: where ASKING isn't known, as in a cluster that isn't Redis's own, nobody is sent elsewhere with it.
func checkRefusals(ctx context.Context, node *redis.Client) error {
	cmds, err := node.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.Do(ctx, "ASKING") // holds for the next command only
		pipe.Do(ctx, "COMMAND")
		return nil
	})
	if _, ok := errors.AsType[redis.Error](err); err != nil && !ok {
		return explain(err)
	}
	for _, cmd := range cmds {
		if err := cmd.Err(); err != nil && strings.Contains(err.Error(), "NOPERM") {
			return explain(err)
		}
	}
	return nil
}

type infoer interface {
	Info(ctx context.Context, section ...string) *redis.StringCmd
}

// checkInfo reads what a server says of itself.
func checkInfo(info string) error {
	f := fields(info)
	version := f["redis_version"] // Valkey says the Redis version that it is compatible with
	major, _, _ := strings.Cut(version, ".")
	if n, err := strconv.Atoi(major); err == nil && n < minVersion {
		return fmt.Errorf("the server is Redis %s: %d.0 or later is needed", version, minVersion)
	}
	if role := f["role"]; role == "slave" || role == "replica" {
		return errors.New("the server is a replica: connect to its primary, or use redis.NewFailoverClient")
	}
	if policy := f["maxmemory_policy"]; policy != "" && policy != "noeviction" && f.number("maxmemory") > 0 {
		return fmt.Errorf("%w (maxmemory-policy %s): set noeviction, or use a server of its own", ErrEviction, policy)
	}
	return nil
}

// fieldMap holds an answer of the form "name:value", a line each.
type fieldMap map[string]string

func fields(text string) fieldMap {
	f := fieldMap{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			f[name] = value
		}
	}
	return f
}

func (f fieldMap) number(name string) int64 {
	n, _ := strconv.ParseInt(f[name], 10, 64)
	return n
}

// advice says what to do about an error of the server, by what its text holds: within a script, Redis puts its own words around.
var advice = []struct{ text, advice string }{
	{"NOAUTH", "the server wants a password"},
	{"WRONGPASS", "the server refuses the user name or password"},
	{"invalid password", "the server refuses the password"},
	{"NOPERM", "the server's user lacks a permission, see Check"},
	{"The user executing the script", "the server's user lacks a permission, see Check"},
	{"ACL failure in script", "the server's user lacks a permission, see Check"}, // Valkey 8
	{"READONLY", "the server is a read-only replica: connect to its primary"},
	{"OOM", "the server is out of memory"},
	{"MISCONF", "the server can't write to its disk"},
	{"MOVED", "the server is one node of a cluster: use redis.NewClusterClient"},
	{"unknown command", "the server lacks a command: Redis 5.0 or later is needed, with scripts allowed"},
}

// explain puts the advice before an error, which it wraps.
func explain(err error) error {
	if serverErr, ok := errors.AsType[redis.Error](err); ok {
		for _, a := range advice {
			if strings.Contains(serverErr.Error(), a.text) {
				return fmt.Errorf("%s: %w", a.advice, err)
			}
		}
		return err
	}
	if _, ok := errors.AsType[*net.OpError](err); ok {
		return fmt.Errorf("the server can't be reached: %w", err)
	}
	return err
}
