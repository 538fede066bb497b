package memstore_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/idempotency/storetest"
	"github.com/onlyonce/onlyonce/memstore"
)

// clock is a clock that is moved by hand.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time {
	return time.Unix(1_700_000_000, 0).Add(time.Duration(c.ahead.Load()))
}

func TestStoreConforms(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) storetest.Subject {
		store, err := memstore.New(memstore.Config{})
		require.NoError(t, err)
		return storetest.Subject{
			Store:    store,
			Peer:     store,
			Expire:   func(_ context.Context, key idempotency.Key) error { return memstore.Expire(store, key) },
			EndLease: func(_ context.Context, key idempotency.Key) error { return memstore.EndLease(store, key) },
		}
	})
}

func TestAFullStoreTakesNoNewKeyAndForgetsNone(t *testing.T) {
	t.Parallel()
	var clock clock
	store, err := memstore.New(memstore.Config{MaxBytes: 1500, Now: clock.now})
	require.NoError(t, err)
	ctx := t.Context()
	record := &idempotency.Record{Response: idempotency.Response{Body: make([]byte, 100)}}
	complete := func(i int) error {
		attempt, _, err := store.Claim(ctx, idempotency.Key{Scope: "s", Value: fmt.Sprint(i)})
		if err != nil {
			return err
		}
		_, err = attempt.Complete(ctx, record, time.Hour)
		return err
	}
	full := 0
	for err = complete(full); err == nil; err = complete(full) {
		full++
	}
	require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
	require.Equal(t, 5, full)
	for i := range full {
		found, err := store.Lookup(ctx, idempotency.Key{Scope: "s", Value: fmt.Sprint(i)})
		require.NoError(t, err)
		require.NotNil(t, found, "key %d was forgotten", i)
	}
	clock.ahead.Store(int64(time.Hour))
	require.NoError(t, complete(full), "what has expired makes room")
}

func TestPendingKeysFillTheStoreUntilTheyAreCompleted(t *testing.T) {
	t.Parallel()
	var clock clock
	store, err := memstore.New(memstore.Config{MaxBytes: 1500, Now: clock.now})
	require.NoError(t, err)
	ctx := t.Context()
	pending := idempotency.Key{Scope: "s", Value: "pending"}
	attempt, _, err := store.Claim(ctx, pending)
	require.NoError(t, err)
	large := idempotency.Progress{Request: make([]byte, 1000), Steps: make([]byte, 500), Attempt: 1}
	for range 3 { // the same row each time
		require.NoError(t, attempt.(idempotency.Chain).Save(ctx, idempotency.Progress{Request: make([]byte, 1000)}, time.Hour))
	}
	_, _, err = store.Claim(ctx, idempotency.Key{Scope: "s", Value: "before it is full"})
	require.NoError(t, err)
	require.NoError(t, attempt.(idempotency.Chain).Save(ctx, large, time.Hour))
	other := idempotency.Key{Scope: "s", Value: "other"}
	clock.ahead.Store(int64(1000 * time.Hour))
	_, _, err = store.Claim(ctx, other)
	require.ErrorIs(t, err, idempotency.ErrStoreUnavailable, "a pending key does not expire")

	attempt, _, err = store.Claim(ctx, pending)
	require.NoError(t, err, "a pending key is resumed in a full store")
	require.Equal(t, &large, attempt.(idempotency.Chain).Progress())
	_, err = attempt.Complete(ctx, &idempotency.Record{}, time.Hour)
	require.NoError(t, err)
	_, _, err = store.Claim(ctx, other)
	require.NoError(t, err, "its end makes room")
}

func TestANegativeBoundIsRefused(t *testing.T) {
	t.Parallel()
	_, err := memstore.New(memstore.Config{MaxBytes: -1})
	require.ErrorContains(t, err, "MaxBytes is -1")
}
