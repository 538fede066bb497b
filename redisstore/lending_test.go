package redisstore_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/redisstore"
)

func lent(owner idempotency.OwnerToken) idempotency.Terms {
	return idempotency.Terms{Owner: owner, Lease: time.Hour, Remember: 2 * time.Hour}
}

// borrow acquires the key, which must succeed.
func borrow(t *testing.T, store *redisstore.Store, key idempotency.Key, owner idempotency.OwnerToken, attempt int) {
	t.Helper()
	lease, found, err := store.Acquire(t.Context(), key, lent(owner))
	require.NoError(t, err)
	require.Nil(t, found)
	require.Equal(t, attempt, lease.Attempt)
}

func settle(t *testing.T, store *redisstore.Store, key idempotency.Key, owner idempotency.OwnerToken, body string) (again bool) {
	t.Helper()
	again, err := store.Settle(t.Context(), key, owner, record(body), retention)
	require.NoError(t, err)
	return again
}

func TestALoanWhoseReplyIsLostIsAskedForAgain(t *testing.T) {
	t.Parallel()
	for _, request := range []bool{false, true} {
		for name, change := range map[string]func(o *redis.Options){"by the store": once, "by the client": func(*redis.Options) {}} {
			t.Run(fmt.Sprint(name, ", lost before ", request), func(t *testing.T) {
				t.Parallel()
				store, cutter := behind(t, redisstore.Config{}, change)
				warm := idempotency.Key{Scope: "alice", Value: "so that the scripts are known"}
				owner := idempotency.NewOwnerToken()
				borrow(t, store, warm, owner, 1)
				settle(t, store, warm, owner, "x")

				lost := cutter.add(store.Name(key), 1, request)
				borrow(t, store, key, owner, 1)
				require.Equal(t, 1, cutter.times(lost), "the fault was not there")
				_, _, err := store.Acquire(t.Context(), key, lent(idempotency.NewOwnerToken()))
				require.ErrorIs(t, err, idempotency.ErrInProgress)

				lost = cutter.add("paid-body", 1, request)
				again := settle(t, store, key, owner, "paid-body")
				require.Equal(t, 1, cutter.times(lost), "the fault was not there")
				if name == "by the store" {
					require.False(t, again, "it was this call that has stored it")
				}
				require.True(t, settle(t, store, key, owner, "paid-body"))
				answers(t, store, key, record("paid-body"))
			})
		}
	}
}

func TestASettleThatIsNeverAnsweredIsUnknown(t *testing.T) {
	t.Parallel()
	store, cutter := behind(t, redisstore.Config{ReadBackTimeout: 2 * time.Second}, once)
	owner := idempotency.NewOwnerToken()
	borrow(t, store, key, owner, 1)
	cutter.loseReply("lost-body", 1<<30)
	_, err := store.Settle(t.Context(), key, owner, record("lost-body"), retention)
	require.ErrorIs(t, err, idempotency.ErrOutcomeUnknown)
	outside := open(t, client(t), redisstore.Config{Prefix: redisstore.Prefix(store)})
	require.True(t, settle(t, outside, key, owner, "lost-body"))
}

func TestAClaimWhoseLeaseIsOverIsLentAsOneThatMayHaveHappened(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, client func(t *testing.T) redis.UniversalClient) {
		store := open(t, client(t), redisstore.Config{})
		owner := idempotency.NewOwnerToken()
		attempt := claim(t, store, key)
		_, _, err := store.Acquire(t.Context(), key, lent(owner))
		require.ErrorIs(t, err, idempotency.ErrInProgress)
		require.NoError(t, redisstore.Crash(attempt.Context(t.Context())))
		borrow(t, store, key, owner, 2)
		_, err = attempt.Complete(t.Context(), record("late"), retention)
		require.ErrorIs(t, err, idempotency.ErrLeaseLost)
		require.False(t, settle(t, store, key, owner, "paid"))
		answers(t, store, key, record("paid"))
	})
}

func TestALoanIsForgottenByItself(t *testing.T) {
	t.Parallel()
	store := open(t, client(t), redisstore.Config{})
	owner := idempotency.NewOwnerToken()
	ends := func(want time.Duration) {
		t.Helper()
		left := redisstore.Client(store).PTTL(t.Context(), store.Name(key)).Val()
		require.InDelta(t, want.Seconds(), left.Seconds(), 60)
	}
	borrow(t, store, key, owner, 1)
	ends(3 * time.Hour)
	require.NoError(t, store.Extend(t.Context(), key, owner, 5*time.Hour))
	ends(7 * time.Hour)
	require.NoError(t, redisstore.EndLease(t.Context(), store, key))
	borrow(t, store, key, idempotency.NewOwnerToken(), 2)
	ends(3 * time.Hour)
	require.ErrorIs(t, store.Free(t.Context(), key, owner), idempotency.ErrLeaseLost)
	require.NoError(t, redisstore.EndLease(t.Context(), store, key))
	last := idempotency.NewOwnerToken()
	borrow(t, store, key, last, 3)
	require.NoError(t, store.Free(t.Context(), key, last))
	ends(2 * time.Hour)
	settled := idempotency.NewOwnerToken()
	borrow(t, store, key, settled, 3)
	settle(t, store, key, settled, "paid")
	ends(retention)
	fields := redisstore.Client(store).HKeys(t.Context(), store.Name(key)).Val()
	require.ElementsMatch(t, []string{"state", "by", "fingerprint", "status", "header", "body"}, fields)
}

func TestTheCompleterDoesNotSeeLentKeys(t *testing.T) {
	t.Parallel()
	store := open(t, client(t), redisstore.Config{})
	borrow(t, store, key, idempotency.NewOwnerToken(), 1)
	require.NoError(t, redisstore.EndLease(t.Context(), store, key))
	found, err := store.Pending(t.Context(), idempotency.Due{Limit: 10})
	require.NoError(t, err)
	require.Equal(t, idempotency.PendingKeys{}, found)
	other := claim(t, store, idempotency.Key{Scope: key.Scope, Value: "another"})
	n, err := other.(idempotency.PendingCounter).CountPending(t.Context(), 10)
	require.NoError(t, err)
	require.Zero(t, n)
}

func TestEachStepOfALoanIsOneRoundTrip(t *testing.T) {
	t.Parallel()
	options, err := single()
	orSkip(t, err)
	own := *options
	client := closing(t, redis.NewClient(&own))
	store := open(t, client, redisstore.Config{})
	owner := idempotency.NewOwnerToken()
	var counted trips
	for _, count := range []bool{false, true} { // the scripts have to be known
		if count {
			client.AddHook(&counted)
		}
		for n, step := range []func(){
			func() { borrow(t, store, key, owner, 1) },
			func() { _, _, _ = store.Acquire(t.Context(), key, lent(idempotency.NewOwnerToken())) },
			func() { require.NoError(t, store.Extend(t.Context(), key, owner, time.Hour)) },
			func() { require.NoError(t, store.Free(t.Context(), key, owner)) },
			func() { borrow(t, store, key, owner, 1) },
			func() { settle(t, store, key, owner, "paid") },
			func() { _, _, _ = store.Acquire(t.Context(), key, lent(owner)) },
		} {
			before := counted.sent.Load()
			step()
			if count {
				require.EqualValues(t, 1, counted.sent.Load()-before, "step %d", n)
			}
		}
		require.NoError(t, redisstore.Expire(t.Context(), store, key))
	}
}

// What has begun is ended: room is made by nothing else.
func TestAFullServerLendsNoNewKeyAndTakesWhatIsSettled(t *testing.T) {
	t.Parallel()
	server := own(t)
	admin := at(t, server.Address)
	store := open(t, admin, redisstore.Config{})
	of := func(value string) idempotency.Key { return idempotency.Key{Scope: "alice", Value: value} }
	owner := idempotency.NewOwnerToken()
	for _, value := range []string{"settled", "extended", "freed", "left"} {
		borrow(t, store, of(value), owner, 1)
	}
	require.NoError(t, redisstore.EndLease(t.Context(), store, of("left")))
	fill := bytes.Repeat([]byte("x"), 1<<20)
	for n := range 8 {
		require.NoError(t, admin.Set(t.Context(), fmt.Sprint("fill-", n), fill, 0).Err())
	}
	require.NoError(t, admin.ConfigSet(t.Context(), "maxmemory", "5mb").Err())

	_, _, err := store.Acquire(t.Context(), of("new"), lent(owner))
	require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
	require.ErrorContains(t, err, "raise its maxmemory")
	borrow(t, store, of("left"), idempotency.NewOwnerToken(), 2)
	require.NoError(t, store.Extend(t.Context(), of("extended"), owner, time.Hour))
	require.NoError(t, store.Free(t.Context(), of("freed"), owner))
	require.False(t, settle(t, store, of("settled"), owner, "paid"))
	answers(t, store, of("settled"), record("paid"))
}

func TestALoanThatTheReplicasDoNotHaveIsNotTold(t *testing.T) {
	t.Parallel()
	server := own(t)
	store := open(t, at(t, server.Address), redisstore.Config{ReplicaTimeout: 20 * time.Millisecond, ReadBackTimeout: 300 * time.Millisecond})
	owner := idempotency.NewOwnerToken()
	borrow(t, store, key, owner, 1)
	redisstore.SetReplicas(store, 1)
	_, _, err := store.Acquire(t.Context(), idempotency.Key{Scope: "alice", Value: "new"}, lent(idempotency.NewOwnerToken()))
	require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
	require.ErrorContains(t, err, "0 of 1 replicas")
	require.ErrorIs(t, store.Extend(t.Context(), key, owner, time.Hour), idempotency.ErrStoreUnavailable)
	for range 2 { // the second is one that finds it stored
		_, err = store.Settle(context.WithoutCancel(t.Context()), key, owner, record("paid"), retention)
		require.ErrorIs(t, err, idempotency.ErrOutcomeUnknown)
	}
}
