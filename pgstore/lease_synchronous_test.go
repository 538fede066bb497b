package pgstore_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

// What a failover may undo is told to nobody: neither that the key is lent, nor that a record stands.
func TestALoanWaitsForTheStandby(t *testing.T) {
	t.Parallel()
	l := newLonely(t)
	store, _, _ := l.store("", 4)
	of := func(value string) idempotency.Key { return idempotency.Key{Scope: "alice", Value: value} }
	owner := idempotency.NewOwnerToken()
	for _, value := range []string{"owned", "settled"} {
		_, _, err := store.Acquire(t.Context(), of(value), borrowed(owner))
		require.NoError(t, err)
	}
	_, err := store.Settle(t.Context(), of("settled"), owner, paidRecord(), time.Hour)
	require.NoError(t, err)

	l.await("nobody")
	store, _, _ = l.store("", 4)
	_, _, err = store.Acquire(t.Context(), of("new"), borrowed(owner))
	require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
	_, err = store.Settle(t.Context(), of("owned"), owner, paidRecord(), time.Hour)
	require.ErrorIs(t, err, idempotency.ErrOutcomeUnknown)
	_, found, err := store.Acquire(t.Context(), of("settled"), borrowed(idempotency.NewOwnerToken()))
	require.ErrorIs(t, err, idempotency.ErrOutcomeUnknown)
	require.Nil(t, found)
	_, err = store.Settle(t.Context(), of("settled"), owner, paidRecord(), time.Hour)
	require.ErrorIs(t, err, idempotency.ErrOutcomeUnknown)

	l.await("")
	store, _, _ = l.store("", 4)
	for _, value := range []string{"owned", "settled"} {
		again, err := store.Settle(t.Context(), of(value), owner, paidRecord(), time.Hour)
		require.NoError(t, err)
		require.True(t, again, value)
	}
}

// An operator cancels the wait: the server says that the statement succeeded, and warns beside it.
func TestALoanWhoseWaitForTheStandbyIsCancelledIsNotTold(t *testing.T) {
	t.Parallel()
	l := newLonely(t)
	owner, key := idempotency.NewOwnerToken(), idempotency.Key{Scope: "alice", Value: "cancelled"}
	l.await("nobody")
	store, _, pool := l.store("", 4)
	cancelling := func(do func() error) error {
		done := make(chan error, 1)
		go func() { done <- do() }()
		for {
			_, err := pool.Exec(t.Context(), `SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'`)
			require.NoError(t, err)
			select {
			case err := <-done:
				return err
			default:
			}
		}
	}
	err := cancelling(func() error { _, _, err := store.Acquire(t.Context(), key, borrowed(owner)); return err })
	require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
	require.ErrorContains(t, err, "the wait for the synchronous standby was cancelled")
	err = cancelling(func() error {
		_, err := store.Settle(t.Context(), key, owner, paidRecord(), time.Hour)
		return err
	})
	require.ErrorIs(t, err, idempotency.ErrOutcomeUnknown)
	require.ErrorContains(t, err, "the wait for the synchronous standby was cancelled")
}
