package redisstore_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/redisstore"
)

// odd are keys that could change a slot, or be taken for each other.
var odd = []idempotency.Key{
	{Scope: "a", Value: "bc"}, {Scope: "ab", Value: "c"}, {Scope: "abc", Value: "abc"},
	{Scope: "{a}", Value: "b"}, {Scope: "a", Value: "{b}"}, {Scope: "}{", Value: "}{"}, {Scope: "{", Value: "}"}, {Scope: "{}", Value: "{}"}, {Scope: "a", Value: "{}b"},
	{Scope: "a:b", Value: "c"}, {Scope: "a", Value: "b:c"}, {Scope: "*", Value: "?"}, {Scope: "[a]", Value: `\`}, {Scope: "pending", Value: "scopes"},
	{Scope: "a b", Value: "c d"}, {Scope: "支払い", Value: "💸"}, {Scope: "a", Value: "' .. redis.call('FLUSHALL') .. '"},
	{Scope: strings.Repeat("s", 255), Value: strings.Repeat("{", 255)},
}

func TestAKeyIsOneHashInOneSlotWhateverIsInIt(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, client func(t *testing.T) redis.UniversalClient) {
		store := open(t, client(t), redisstore.Config{})
		for i, key := range odd {
			names := redisstore.Names(store, key)
			tag := names[0][strings.Index(names[0], "{")+1 : strings.Index(names[0], "}")]
			for _, name := range names {
				require.True(t, strings.HasPrefix(name, redisstore.Prefix(store)+":{"+tag+"}:"), "%q", name)
				require.Equal(t, 1, strings.Count(name, "{"))
				require.Equal(t, 1, strings.Count(name, "}"))
			}
			attempt := claim(t, store, key).(idempotency.Chain)
			require.NoError(t, attempt.Save(t.Context(), idempotency.Progress{Attempt: 1}, retention))
			want := record(fmt.Sprint(i))
			_, err := attempt.Complete(t.Context(), want, retention)
			require.NoError(t, err)
			if cluster, ok := redisstore.Client(store).(*redis.ClusterClient); ok {
				slot, err := cluster.ClusterKeySlot(t.Context(), names[0]).Result()
				require.NoError(t, err)
				require.EqualValues(t, redisstore.Slot(tag), slot)
			}
		}
		for i, key := range odd {
			answers(t, store, key, record(fmt.Sprint(i)))
		}
	})
}

func TestNeitherScopeNorKeyIsReadInAName(t *testing.T) {
	t.Parallel()
	store := open(t, client(t), redisstore.Config{})
	for _, name := range redisstore.Names(store, idempotency.Key{Scope: "secret-tenant", Value: "secret-key"}) {
		require.NotContains(t, name, "secret")
	}
}

func TestEveryByteComesBack(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, client func(t *testing.T) redis.UniversalClient) {
		store := open(t, client(t), redisstore.Config{})
		var all []byte
		for b := range 256 {
			all = append(all, byte(b), '\r', '\n', byte(b))
		}
		want := &idempotency.Record{Response: idempotency.Response{Status: 201, Header: all, Body: bytes.Repeat(all, 1000)}}
		copy(want.Fingerprint[:], all[40:])
		_, err := claim(t, store, key).Complete(t.Context(), want, retention)
		require.NoError(t, err)
		found, err := store.Lookup(t.Context(), key)
		require.NoError(t, err)
		require.Equal(t, want.Fingerprint, found.Fingerprint)
		require.Equal(t, want.Response, found.Response)

		pending := idempotency.Key{Scope: "alice", Value: "pending"}
		progress := idempotency.Progress{RecoveryPoint: string(all), Steps: all, Request: bytes.Repeat(all, 100), Attempt: 1, LastError: string(all)}
		copy(progress.Fingerprint[:], all[80:])
		require.NoError(t, claim(t, store, pending).(idempotency.Chain).Yield(t.Context(), progress))
		require.Equal(t, &progress, claim(t, store, pending).(idempotency.Chain).Progress())
	})
}

// Where a key is must never change: a retry would not find it, and run again.
func TestWhereAKeyIsNeverChanges(t *testing.T) {
	t.Parallel()
	store := open(t, redis.NewClient(&redis.Options{}), redisstore.Config{Prefix: "p"})
	require.Equal(t, []string{
		"p:{230}:NX8QpSk8cllXxXGjpNHSKh-B1iN7dNSN5SJaeEc8zrY", "p:{230}:pending", "p:{230}:scopes",
	}, redisstore.Names(store, key))
}

func TestTheBucketsShareTheSlotsEvenly(t *testing.T) {
	t.Parallel()
	for n := range redisstore.Buckets {
		require.Equal(t, n, redisstore.Slot(redisstore.Bucket(n))/(16384/redisstore.Buckets), "bucket %d", n)
	}
	require.Equal(t, 12739, redisstore.Slot("123456789"), "as the specification of Redis Cluster has it: 0x31C3")
}
