package store_test

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/examples/store"
	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/idempotency/storetest"
)

const (
	lease    = time.Minute
	patience = 2 * time.Second // a lock that is free must be had within, on a machine that is busy
)

func versioned(t *testing.T, table store.Table) *store.Versioned {
	t.Helper()
	s, err := store.NewVersioned(table, lease)
	require.NoError(t, err)
	return s
}

func locked(t *testing.T, storage store.Storage, locks store.Locker) *store.Locked {
	t.Helper()
	s, err := store.NewLocked(storage, locks, patience)
	require.NoError(t, err)
	return s
}

func TestTheStoresConform(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		open func(t *testing.T) storetest.Subject
	}{
		{"versions", func(t *testing.T) storetest.Subject {
			table := newMemory()
			return storetest.Subject{
				Store:        versioned(t, table),
				Peer:         versioned(t, table),
				Expire:       func(_ context.Context, key idempotency.Key) error { table.forget(store.NameOf(key)); return nil },
				SelfExpiring: true,
				Crash:        func(context.Context) error { table.age(lease); return nil }, // nobody renews its mark
			}
		}},
		{"get, set and lock", func(t *testing.T) storetest.Subject {
			storage, locks := storage{newMemory()}, newLocks()
			return storetest.Subject{
				Store:        locked(t, storage, locks),
				Peer:         locked(t, storage, locks),
				Expire:       func(_ context.Context, key idempotency.Key) error { storage.forget(store.NameOf(key)); return nil },
				SelfExpiring: true,
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, tt.open)
		})
	}
}

var key = idempotency.Key{Scope: "alice", Value: "payment-1"}

// engine returns one over s whose requests with key have an effect, and then do what next says, if anything.
func pay(t *testing.T, s idempotency.Store, effects *int, next func()) (idempotency.Result, error) {
	t.Helper()
	engine, err := idempotency.New(s, idempotency.Config{})
	require.NoError(t, err)
	return engine.Run(t.Context(), idempotency.Request{Key: key}, func(context.Context) (idempotency.Response, error) {
		*effects++
		if next != nil {
			next()
		}
		return idempotency.Response{Status: 201, Body: []byte("paid")}, nil
	})
}

func TestACrashBetweenEffectAndCompletionRepeatsTheEffect(t *testing.T) {
	t.Parallel()
	table := newMemory()
	effects := 0
	crashed, _, err := versioned(t, table).Claim(t.Context(), key)
	require.NoError(t, err)
	require.NotNil(t, crashed)
	effects++ // and then nothing any more
	_, err = pay(t, versioned(t, table), &effects, nil)
	require.ErrorIs(t, err, idempotency.ErrInProgress)
	table.age(lease)
	_, err = pay(t, versioned(t, table), &effects, nil)
	require.NoError(t, err)
	require.Equal(t, 2, effects)
}

func TestAnOwnerThatComesBackLateAnswersAsItsSuccessorDid(t *testing.T) {
	t.Parallel()
	table := newMemory()
	effects := 0
	got, err := pay(t, versioned(t, table), &effects, func() {
		table.age(lease)
		got, err := pay(t, versioned(t, table), &effects, nil)
		require.NoError(t, err)
		require.False(t, got.Replayed)
	})
	require.NoError(t, err)
	require.True(t, got.Replayed, "two answers to one key")
	require.Equal(t, 2, effects, "which no store without a transaction can undo")
}

func TestAnOwnerThatComesBackWhileItsSuccessorWorksHasLostTheKey(t *testing.T) {
	t.Parallel()
	table := newMemory()
	effects := 0
	var successor idempotency.Attempt
	_, err := pay(t, versioned(t, table), &effects, func() {
		table.age(lease)
		var err error
		successor, _, err = versioned(t, table).Claim(t.Context(), key)
		require.NoError(t, err)
	})
	require.ErrorIs(t, err, idempotency.ErrLeaseLost)
	record := &idempotency.Record{Response: idempotency.Response{Status: 201}}
	settled, err := successor.Complete(t.Context(), record, time.Hour)
	require.NoError(t, err)
	require.Same(t, record, settled.Record)
}

// cut is a table whose replies to a swap of version are lost, with or without the swap.
type cut struct {
	*memory
	swaps bool // it happens all the same
	gone  bool // and nothing is answered any more
}

var errCut = errors.New("connection reset")

func (c *cut) Swap(ctx context.Context, name string, version uint64, value []byte, life time.Duration) (uint64, error) {
	if version == 0 {
		return c.memory.Swap(ctx, name, version, value, life)
	}
	if c.swaps {
		_, _ = c.memory.Swap(ctx, name, version, value, life)
	}
	return 0, errCut
}

func (c *cut) Get(ctx context.Context, name string) ([]byte, uint64, error) {
	if c.gone {
		return nil, 0, errCut
	}
	return c.memory.Get(ctx, name)
}

func TestALostReplyIsReadBackOrUnknown(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		cut  cut
		want error
	}{
		{"it happened, and can be read", cut{swaps: true}, nil},
		{"it happened, and cannot be read", cut{swaps: true, gone: true}, idempotency.ErrOutcomeUnknown},
		{"it has not happened yet", cut{}, idempotency.ErrOutcomeUnknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.cut.memory = newMemory()
			effects := 0
			got, err := pay(t, versioned(t, &tt.cut), &effects, nil)
			require.ErrorIs(t, err, tt.want)
			if tt.want == nil {
				require.Equal(t, "paid", string(got.Response.Body))
			}
			require.Equal(t, 1, effects)
		})
	}
}

func TestALockThatEndsUnderItsOwnerLetsAnotherOneIn(t *testing.T) {
	t.Parallel()
	storage, locks := storage{newMemory()}, newLocks()
	effects := 0
	got, err := pay(t, locked(t, storage, locks), &effects, func() {
		require.NoError(t, locks.Unlock(store.NameOf(key))) // its time is over
		_, err := pay(t, locked(t, storage, locks), &effects, nil)
		require.NoError(t, err)
	})
	require.NoError(t, err)
	require.True(t, got.Replayed, "the other one was done in time to be seen")
	require.Equal(t, 2, effects)
}

// slow is a storage on which something happens before a value is there.
type slow struct {
	storage
	before func()
}

func (s slow) Set(name string, value []byte, life time.Duration) error {
	s.before()
	return s.storage.Set(name, value, life)
}

// What the page admits: no lock can keep this from happening, and a storage that compares would.
func TestTwoOwnersOfALockAreAnsweredEachWithItsOwn(t *testing.T) {
	t.Parallel()
	memory, locks := storage{newMemory()}, newLocks()
	one, another := &idempotency.Record{Response: idempotency.Response{Status: 201}}, &idempotency.Record{Response: idempotency.Response{Status: 202}}
	s := locked(t, slow{memory, func() {
		require.NoError(t, locks.Unlock(store.NameOf(key))) // its time is over
		attempt, _, err := locked(t, memory, locks).Claim(t.Context(), key)
		require.NoError(t, err)
		settled, err := attempt.Complete(t.Context(), another, time.Hour)
		require.NoError(t, err)
		require.Same(t, another, settled.Record)
	}}, locks)
	attempt, _, err := s.Claim(t.Context(), key)
	require.NoError(t, err)
	settled, err := attempt.Complete(t.Context(), one, time.Hour)
	require.NoError(t, err)
	require.Same(t, one, settled.Record)
	stands, err := s.Lookup(t.Context(), key)
	require.NoError(t, err)
	require.Equal(t, 201, stands.Response.Status, "which is not what everybody was told")
}

// late are locks that something happens before.
type late struct {
	*locks
	before func()
}

func (l late) Lock(name string) error {
	l.before()
	return l.locks.Lock(name)
}

func TestAClaimThatHadToWaitFindsWhatWasStoredMeanwhile(t *testing.T) {
	t.Parallel()
	storage, locks := storage{newMemory()}, newLocks()
	effects := 0
	another := locked(t, storage, late{locks, func() {
		_, err := pay(t, locked(t, storage, locks), &effects, nil)
		require.NoError(t, err)
	}})
	got, err := pay(t, another, &effects, nil)
	require.NoError(t, err)
	require.True(t, got.Replayed)
	require.Equal(t, 1, effects)
	require.Empty(t, locks.held)
}

func TestAClaimUnderAContextThatHasEndedAsksForNoLock(t *testing.T) {
	t.Parallel()
	s := locked(t, storage{newMemory()}, late{newLocks(), func() { t.Error("asked for a lock") }})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := s.Claim(ctx, key)
	require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
	require.ErrorIs(t, err, context.Canceled)
}

func TestALockThatNobodyWaitsForAnyMoreIsLetGoOf(t *testing.T) {
	t.Parallel()
	storage, locks := storage{newMemory()}, newLocks()
	one, another := locked(t, storage, locks), locked(t, storage, locks)
	attempt, _, err := one.Claim(t.Context(), key)
	require.NoError(t, err)
	for range 3 {
		_, _, err = another.Claim(t.Context(), key)
		require.ErrorIs(t, err, idempotency.ErrInProgress)
	}
	require.NoError(t, attempt.Release(t.Context()))
	for _, s := range []*store.Locked{another, one} {
		require.Eventually(t, func() bool {
			attempt, _, err := s.Claim(t.Context(), key)
			return err == nil && attempt.Release(t.Context()) == nil
		}, storetest.Bound, time.Millisecond)
	}
}

func TestWhatCannotBeReadIsNotRunAgain(t *testing.T) {
	t.Parallel()
	memory := newMemory()
	require.NoError(t, storage{memory}.Set(store.NameOf(key), []byte("{"), time.Hour))
	for _, s := range []idempotency.Store{versioned(t, memory), locked(t, storage{memory}, newLocks())} {
		effects := 0
		_, err := pay(t, s, &effects, nil)
		require.ErrorIs(t, err, idempotency.ErrRecordUnreadable)
		require.Zero(t, effects)
	}
}

func TestConstructorsSayWhatIsMissing(t *testing.T) {
	t.Parallel()
	_, err := store.NewVersioned(nil, lease)
	require.ErrorContains(t, err, "needs a table")
	_, err = store.NewVersioned(newMemory(), 0)
	require.ErrorContains(t, err, "longer than HandlerTimeout")
	_, err = store.NewLocked(storage{newMemory()}, nil, patience)
	require.ErrorContains(t, err, "a locker")
	_, err = store.NewLocked(storage{newMemory()}, newLocks(), 0)
	require.ErrorContains(t, err, "how long to wait")
}

// The page shows these files. What it says of others would be read as tested, too.
func TestThePageShowsTheFilesAsTheyAre(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/stores.md")
	require.NoError(t, err)
	for _, file := range []string{"versioned.go", "locked.go"} {
		code, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Contains(t, string(page), "```go\n"+string(code)+"```\n", "%s is not in docs/stores.md as it is", file)
	}
}
