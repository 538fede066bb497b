package redisstore_test

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/redisstore"
)

// A cluster is resharded while attempts are at work: some of a slot's keys are at the one node, some at the other.
func TestAnAttemptOutlivesTheMoveOfItsSlot(t *testing.T) {
	t.Parallel()
	var addresses []string
	for range 2 {
		addresses = append(addresses, own(t, asNode...).Address)
	}
	require.NoError(t, join(addresses))
	ctx := t.Context()
	cluster := closing(t, redis.NewClusterClient(&redis.ClusterOptions{Addrs: addresses}))
	store := open(t, cluster, redisstore.Config{})
	names := redisstore.Names(store, key)
	slot := int(cluster.ClusterKeySlot(ctx, names[0]).Val())
	old, err := cluster.MasterForKey(ctx, names[0])
	require.NoError(t, err)
	next := at(t, addresses[0])
	if strings.HasSuffix(old.Options().Addr, next.Options().Addr) {
		next = at(t, addresses[1])
	}
	id := func(node *redis.Client) string { return node.Do(ctx, "cluster", "myid").Val().(string) }

	keys := neighbours(store, 5) // all of the slot that moves
	fresh, stays, goes := keys[2], keys[3], keys[4]
	simple, staying := claim(t, store, key), claim(t, store, stays)
	var chains []idempotency.Chain
	for _, k := range []idempotency.Key{keys[0], keys[1], goes} {
		chain := claim(t, store, k).(idempotency.Chain)
		require.NoError(t, chain.Save(ctx, idempotency.Progress{RecoveryPoint: "one", Attempt: 1}, retention))
		chains = append(chains, chain)
	}
	require.NoError(t, next.Do(ctx, "cluster", "setslot", slot, "importing", id(old)).Err())
	require.NoError(t, old.Do(ctx, "cluster", "setslot", slot, "migrating", id(next)).Err())
	host, port := hostAndPort(t, next.Options().Addr)
	move := func(names ...string) {
		t.Helper()
		for _, name := range names {
			require.Equal(t, "OK", old.Migrate(ctx, host, port, name, 0, patience).Val(), name)
		}
	}

	// The slot is on its way, and all of it is here still.
	want := record("done")
	completes := func(attempt idempotency.Attempt) {
		t.Helper()
		settled, err := attempt.Complete(ctx, want, retention)
		require.NoError(t, err)
		require.Same(t, want, settled.Record)
	}
	completes(staying)
	require.NoError(t, chains[2].Begin(ctx))
	require.NoError(t, chains[2].Save(ctx, idempotency.Progress{RecoveryPoint: "two", Attempt: 1}, retention))
	require.NoError(t, chains[2].Renew(ctx, retention))
	completes(chains[2])

	// One is there, and what has no key yet.
	move(names[0])
	completes(simple)
	answers(t, store, key, want)
	require.NoError(t, claim(t, store, fresh).Release(ctx))

	// What touches several keys of which one is elsewhere waits until all are.
	ended := make(chan error, 1)
	go func() {
		_, err := chains[0].Complete(ctx, want, retention)
		ended <- err
	}()
	move(store.Name(keys[0]), store.Name(keys[1]), names[1], names[2], store.Name(stays), store.Name(goes))
	require.NoError(t, <-ended)
	for _, node := range []*redis.Client{next, old} {
		require.NoError(t, node.Do(ctx, "cluster", "setslot", slot, "node", id(next)).Err())
	}
	completes(chains[1])
	for _, k := range []idempotency.Key{key, keys[0], keys[1], stays, goes} {
		answers(t, store, k, want)
	}
	found, err := store.Pending(ctx, never)
	require.NoError(t, err)
	require.Zero(t, found)
}
