package redisstore_test

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/redisstore"
)

// A completion that waits for replicas is sent to a node of its own choosing, and must go where the slot is being moved.
func TestACompletionThatWaitsForReplicasFollowsItsSlot(t *testing.T) {
	t.Parallel()
	addresses := []string{own(t, asNode...).Address, own(t, asNode...).Address}
	require.NoError(t, join(addresses))
	ctx := t.Context()
	cluster := closing(t, redis.NewClusterClient(&redis.ClusterOptions{Addrs: addresses}))
	store := open(t, cluster, redisstore.Config{ReadBackTimeout: time.Minute, ReplicaTimeout: 50 * time.Millisecond})
	row := store.Name(key)
	slot := int(cluster.ClusterKeySlot(ctx, row).Val())
	old, err := cluster.MasterForKey(ctx, row)
	require.NoError(t, err)
	next := at(t, addresses[0])
	if strings.HasSuffix(old.Options().Addr, next.Options().Addr) {
		next = at(t, addresses[1])
	}
	id := func(node *redis.Client) string { return node.Do(ctx, "cluster", "myid").Val().(string) }
	attempt := claim(t, store, key)
	redisstore.SetReplicas(store, 1) // of which there are none: what counts is where the completion went
	require.NoError(t, next.Do(ctx, "cluster", "setslot", slot, "importing", id(old)).Err())
	require.NoError(t, old.Do(ctx, "cluster", "setslot", slot, "migrating", id(next)).Err())
	host, port := hostAndPort(t, next.Options().Addr)
	require.Equal(t, "OK", old.Migrate(ctx, host, port, row, 0, patience).Val())
	ended := make(chan error, 1)
	go func() {
		_, err := attempt.Complete(ctx, record("done"), retention)
		ended <- err
	}()
	require.Eventually(t, func() bool {
		pipe := next.Pipeline()
		pipe.Do(ctx, "asking")
		state := pipe.HGet(ctx, row, "state")
		_, _ = pipe.Exec(ctx)
		return state.Val() == "completed"
	}, patience, time.Millisecond)
	require.NoError(t, cluster.Close()) // it would go on asking for replicas
	require.Error(t, <-ended)
}
