package redisdedupe_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/thewalletcrew/walletcrew-go/adapters/redisdedupe"
	"github.com/thewalletcrew/walletcrew-go/receiver"
	"github.com/thewalletcrew/walletcrew-go/walletcrewtest"
)

// startCluster starts three servers that share the slots.
func startCluster(t *testing.T) []*server {
	t.Helper()
	ctx := t.Context()
	var nodes []*server
	var buses []int
	for range 3 {
		bus := port(t, freeAddress(t)) // else it is the port + 10,000, which may not exist
		buses = append(buses, bus)
		// The node timeout is as usual, 15 s: one that stands still for a moment isn't away, also while they meet.
		nodes = append(nodes, startServer(t, "--cluster-enabled", "yes", "--cluster-port", fmt.Sprint(bus)))
	}
	bounds := []int{0, 5461, 10923, 16384}
	for i, node := range nodes {
		client := node.client(t)
		require.NoError(t, client.ClusterAddSlotsRange(ctx, bounds[i], bounds[i+1]-1).Err())
		require.NoError(t, client.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err())
		if i > 0 {
			require.NoError(t, client.Do(ctx, "CLUSTER", "MEET", "127.0.0.1", port(t, nodes[0].addr), buses[0]).Err())
		}
	}
	for _, node := range nodes {
		client := node.client(t)
		require.Eventually(t, func() bool {
			info := client.ClusterInfo(ctx).Val()
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:3")
		}, 2*patience, 100*time.Millisecond, "the cluster does not come together")
	}
	return nodes
}

func clusterClient(t *testing.T, nodes []*server, change ...func(*redis.ClusterOptions)) *redis.ClusterClient {
	t.Helper()
	options := &redis.ClusterOptions{ReadTimeout: patience, DialerRetries: 1}
	for _, node := range nodes {
		options.Addrs = append(options.Addrs, node.addr)
	}
	for _, c := range change {
		c(options)
	}
	client := redis.NewClusterClient(options)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// moveSlot begins to move the slot of a key, which is empty, from the first node to the second; moved ends that.
func moveSlot(t *testing.T, nodes []*server, prefix string) (key string, moved func()) {
	t.Helper()
	do := func(node int, command ...any) any {
		t.Helper()
		answer, err := nodes[node].client(t).Do(t.Context(), append([]any{"CLUSTER"}, command...)...).Result()
		require.NoError(t, err)
		return answer
	}
	var slot any
	for i := 0; ; i++ {
		key = fmt.Sprint("moved-", i)
		if slot = do(0, "KEYSLOT", prefix+"orders:"+key); slot.(int64) < 5461 && do(0, "COUNTKEYSINSLOT", slot) == int64(0) {
			break
		}
	}
	from, to := do(0, "MYID"), do(1, "MYID")
	do(1, "SETSLOT", slot, "IMPORTING", from)
	do(0, "SETSLOT", slot, "MIGRATING", to)
	return key, func() {
		t.Helper()
		for _, node := range []int{1, 0, 2} {
			do(node, "SETSLOT", slot, "NODE", to)
		}
	}
}

func TestItWorksOnACluster(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t)
	client := clusterClient(t, nodes)
	d := newDeduper(t, client)
	require.NoError(t, d.Check(t.Context()))
	require.NoError(t, walletcrewtest.TestDeduper(t.Context(), d))

	for i := range 300 {
		key := fmt.Sprint("spread-", i)
		require.NoError(t, d.Complete(t.Context(), key, claimed(t, d, key, time.Minute).Token))
	}
	for _, node := range nodes {
		size := node.client(t).DBSize(t.Context()).Val()
		assert.Greater(t, size, int64(50), "the keys are spread over the nodes")
	}

	t.Run("a client of one node is refused", func(t *testing.T) {
		d, err := redisdedupe.New(nodes[0].client(t), "orders")
		require.NoError(t, err)
		assert.ErrorContains(t, d.Check(t.Context()), "use redis.NewClusterClient")
	})

	t.Run("what is wrong with one node isn't hidden by another that may evict", func(t *testing.T) {
		evicting, refusing := nodes[0].client(t), nodes[2].client(t)
		require.NoError(t, evicting.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err())
		require.NoError(t, evicting.ConfigSet(t.Context(), "maxmemory", "64mb").Err())
		require.ErrorIs(t, d.Check(t.Context()), redisdedupe.ErrEviction)
		require.NoError(t, refusing.Do(t.Context(), "ACL", "SETUSER", "default", "-info").Err())
		for range 20 {
			err := d.Check(t.Context())
			require.ErrorContains(t, err, "lacks a permission")
			require.NotErrorIs(t, err, redisdedupe.ErrEviction)
		}
		require.NoError(t, refusing.Do(t.Context(), "ACL", "SETUSER", "default", "+info").Err())
		require.NoError(t, evicting.ConfigSet(t.Context(), "maxmemory", "0").Err())
	})

	t.Run("a user with no more than the documented permissions", func(t *testing.T) {
		as := func(name, permissions string) (d *redisdedupe.Deduper, prefix string) {
			prefix = newPrefix(t, client)
			for _, node := range nodes {
				require.NoError(t, node.client(t).Do(t.Context(), append([]any{"ACL", "SETUSER", name, "reset", "on", ">pw", "~" + prefix + "orders:*"}, rules(permissions)...)...).Err())
			}
			theirs := clusterClient(t, nodes, func(o *redis.ClusterOptions) { o.Username, o.Password = name, "pw" })
			d, err := redisdedupe.New(theirs, "orders", redisdedupe.WithPrefix(prefix))
			require.NoError(t, err)
			return d, prefix
		}
		d, prefix := as("documented", permissions+" "+clusterPermissions)
		require.NoError(t, d.Check(t.Context()))
		require.NoError(t, walletcrewtest.TestDeduper(t.Context(), d))
		key, moved := moveSlot(t, nodes, prefix)
		require.NoError(t, d.Complete(t.Context(), key, claimed(t, d, key, time.Minute).Token), "while its slot is moved")
		moved()
		again, err := d.Claim(t.Context(), key, time.Minute)
		require.NoError(t, err)
		assert.Equal(t, receiver.Done, again.State, "after its slot was moved")

		for rule := range strings.FieldsSeq(permissions + " " + clusterPermissions) {
			if rule == "+eval" { // the servers know the scripts by now
				continue
			}
			d, _ := as("lacking", strings.Replace(permissions+" "+clusterPermissions+" ", rule+" ", "", 1))
			err := d.Check(t.Context())
			require.ErrorContains(t, err, "lacks a permission", rule)
			if !slices.Contains([]string{"+get", "+set", "+del", "+time"}, rule) { // of commands in a script, not every version says which
				assert.ErrorContains(t, err, "'"+strings.TrimPrefix(rule, "+")+"'", "what is lacking is named")
			}
		}
	})

	t.Run("a node is down", func(t *testing.T) {
		nodes[1].kill(t)
		failed := 0
		for i := range 30 {
			if claim, err := d.Claim(t.Context(), fmt.Sprint("spread-", i), time.Minute); err != nil {
				failed++
			} else {
				assert.Equal(t, receiver.Done, claim.State, "what can be read is done")
			}
		}
		assert.Positive(t, failed, "what the node holds can't be claimed elsewhere")
		nodes[1].start(t)
		require.Eventually(t, func() bool {
			for i := range 300 {
				if claim, err := d.Claim(t.Context(), fmt.Sprint("spread-", i), time.Minute); err != nil || claim.State != receiver.Done {
					return false
				}
			}
			return true
		}, 2*patience, 100*time.Millisecond, "after its return everything is done as before")
	})
}
