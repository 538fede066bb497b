package leased_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/gateway/leased"
	"github.com/onlyonce/onlyonce/idempotency"
)

const lease = time.Minute

var key = idempotency.Key{Scope: "alice", Value: "payment-1"}

func open(t *testing.T, lender idempotency.Leaser) *leased.Store {
	t.Helper()
	store, err := leased.New(lender, leased.Config{Lease: lease, Timeout: time.Second})
	require.NoError(t, err)
	return store
}

func claim(t *testing.T, store *leased.Store) (idempotency.Attempt, context.Context) {
	t.Helper()
	attempt, record, err := store.Claim(t.Context(), key)
	require.NoError(t, err)
	require.Nil(t, record)
	return attempt, attempt.Context(t.Context())
}

func wantInProgress(t *testing.T, store *leased.Store) {
	t.Helper()
	_, _, err := store.Claim(t.Context(), key)
	require.ErrorIs(t, err, idempotency.ErrInProgress)
}

func paid() *idempotency.Record {
	return &idempotency.Record{Response: idempotency.Response{Status: 201, Body: []byte("paid")}}
}

func TestWhatAConfigurationMustSay(t *testing.T) {
	t.Parallel()
	_, err := leased.New(nil, leased.Config{Lease: lease})
	require.ErrorContains(t, err, "needs something that lends keys")
	for name, config := range map[string]leased.Config{
		"Lease": {}, "Remember": {Lease: lease, Remember: -1}, "Timeout": {Lease: lease, Timeout: -1},
	} {
		_, err := leased.New(newClocked(t), config)
		require.ErrorContains(t, err, "leased: Config."+name)
	}
}

func TestAHeldKeyIsLeftToItsLeaseAndTheNextAttemptIsCounted(t *testing.T) {
	t.Parallel()
	lender := newClocked(t)
	store := open(t, lender)
	first, ctx := claim(t, store)
	require.Equal(t, 1, leased.Attempt(ctx))
	require.Less(t, leased.Left(ctx), lease, "it goes by")
	require.Greater(t, leased.Left(ctx), lease-10*time.Second)
	leased.Hold(ctx)
	require.NoError(t, first.Release(ctx))
	wantInProgress(t, store)
	lender.advance(lease - time.Second)
	wantInProgress(t, store)
	lender.advance(time.Second)
	second, ctx := claim(t, store)
	require.Equal(t, 2, leased.Attempt(ctx))
	_, err := second.Complete(ctx, paid(), time.Hour)
	require.NoError(t, err)
}

func TestAHeldKeyWhoseOutcomeBecameKnownIsFreed(t *testing.T) {
	t.Parallel()
	store := open(t, newClocked(t))
	attempt, ctx := claim(t, store)
	leased.Hold(ctx)
	leased.Unhold(ctx)
	require.NoError(t, attempt.Release(ctx))
	_, ctx = claim(t, store)
	require.Equal(t, 1, leased.Attempt(ctx))
}

func TestAPanicWithAHeldKeyDoesNotFreeIt(t *testing.T) {
	t.Parallel()
	store := open(t, newClocked(t))
	engine, err := idempotency.New(store, idempotency.Config{})
	require.NoError(t, err)
	require.Panics(t, func() {
		_, _ = engine.Run(t.Context(), idempotency.Request{Key: key}, func(ctx context.Context) (idempotency.Response, error) {
			leased.Hold(ctx)
			panic("sent, and then this")
		})
	})
	wantInProgress(t, store)
}

func TestOutsideOfAKeyThereIsNothingToHold(t *testing.T) {
	t.Parallel()
	attempt, err := open(t, newClocked(t)).Begin(t.Context())
	require.NoError(t, err)
	for _, ctx := range []context.Context{t.Context(), attempt.Context(t.Context())} {
		leased.Hold(ctx)
		require.Zero(t, leased.Attempt(ctx))
		require.Zero(t, leased.Left(ctx))
	}
	require.NoError(t, attempt.Release(t.Context()))
	require.Error(t, attempt.Release(t.Context()))
}

func TestAnotherRequestDoesNotTakeOverWhatWasLeftWithoutAnOutcome(t *testing.T) {
	t.Parallel()
	lender := newClocked(t)
	store := open(t, lender)
	paying, refunding := idempotency.Identity{Fingerprint: idempotency.Fingerprint{1, 1}}, idempotency.Identity{Fingerprint: idempotency.Fingerprint{1, 2}}
	_, _, err := store.ClaimAs(t.Context(), key, paying)
	require.NoError(t, err)
	lender.advance(lease)
	_, _, err = store.ClaimAs(t.Context(), key, refunding)
	require.ErrorIs(t, err, idempotency.ErrKeyReused)
	attempt, _, err := store.ClaimAs(t.Context(), key, paying)
	require.NoError(t, err)
	require.Equal(t, 2, leased.Attempt(attempt.Context(t.Context())))
}

func TestAnOwnerThatWasOvertakenIsAnsweredWithWhatStands(t *testing.T) {
	t.Parallel()
	lender := newClocked(t)
	store := open(t, lender)
	late, ctx := claim(t, store)
	lender.advance(lease)
	second, _ := claim(t, store)

	settled, err := late.Complete(ctx, paid(), time.Hour)
	require.ErrorIs(t, err, idempotency.ErrLeaseLost)
	require.Nil(t, settled.Record, "the other one is not done")

	_, err = second.Complete(t.Context(), paid(), time.Hour)
	require.NoError(t, err)

	other := idempotency.Key{Scope: "bob", Value: key.Value}
	late, _, err = store.Claim(t.Context(), other)
	require.NoError(t, err)
	lender.advance(lease)
	second, _, err = store.Claim(t.Context(), other)
	require.NoError(t, err)
	_, err = second.Complete(t.Context(), paid(), time.Hour)
	require.NoError(t, err)
	own := paid()
	settled, err = late.Refuse(ctx, own, time.Hour)
	require.NoError(t, err)
	require.NotSame(t, own, settled.Record, "what stands, and not what was passed in")
	require.Equal(t, own.Response, settled.Record.Response)
}

func TestTheClientsContextEndsNoAttempt(t *testing.T) {
	t.Parallel()
	lender := &flaky{clocked: newClocked(t)}
	store := open(t, lender)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	attempt, _ := claim(t, store)
	require.NoError(t, attempt.Release(gone))
	attempt, _ = claim(t, store)
	_, err := attempt.Complete(gone, paid(), time.Hour)
	require.NoError(t, err)
	require.Zero(t, lender.cancelled, "the store was asked under a context that had ended")
}

// flaky is a store that is away for a number of calls, of which it has done what it was asked, or has not.
type flaky struct {
	*clocked
	away      int
	done      bool // before the reply was lost
	asked     int
	cancelled int
}

func (f *flaky) call(ctx context.Context, do func() error) error {
	f.asked++
	if ctx.Err() != nil {
		f.cancelled++
	}
	if f.away == 0 {
		return do()
	}
	f.away--
	if f.done {
		_ = do()
	}
	return errAway
}

func (f *flaky) Settle(ctx context.Context, key idempotency.Key, owner idempotency.OwnerToken, record *idempotency.Record, retention time.Duration) (again bool, err error) {
	err = f.call(ctx, func() (err error) {
		again, err = f.clocked.Settle(ctx, key, owner, record, retention)
		return err
	})
	return again, err
}

func (f *flaky) Free(ctx context.Context, key idempotency.Key, owner idempotency.OwnerToken) error {
	return f.call(ctx, func() error { return f.clocked.Free(ctx, key, owner) })
}

func TestAStoreThatIsAwayForAMomentIsAskedAgain(t *testing.T) {
	t.Parallel()
	for name, done := range map[string]bool{"the request was lost": false, "the reply was lost": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				lender := &flaky{clocked: newClocked(t), done: done}
				store := open(t, lender)
				attempt, ctx := claim(t, store)
				lender.away = 2
				require.NoError(t, attempt.Release(ctx))
				attempt, ctx = claim(t, store)
				require.Equal(t, 1, leased.Attempt(ctx))
				lender.away = 2
				want := paid()
				settled, err := attempt.Complete(ctx, want, time.Hour)
				require.NoError(t, err)
				require.Same(t, want, settled.Record)
				require.Equal(t, 6, lender.asked)
			})
		})
	}
}

// What the upstream did is done: that the store took no record of it must not read as if nothing had happened.
func TestAStoreThatStaysAwayLeavesTheOutcomeUnknownAndTheKeyToItsLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		lender := &flaky{clocked: newClocked(t), away: 1000}
		store := open(t, lender)
		attempt, ctx := claim(t, store)
		began := time.Now()
		_, err := attempt.Complete(ctx, paid(), time.Hour)
		require.Equal(t, time.Second, time.Since(began), "Config.Timeout")
		require.ErrorIs(t, err, idempotency.ErrOutcomeUnknown)
		require.ErrorIs(t, err, errAway)
		require.NotErrorIs(t, err, idempotency.ErrLeaseLost)
		require.Equal(t, lease-time.Second, idempotency.AsError(err).RetryAfter, "sooner it would be in progress")
		lender.away = 0
		wantInProgress(t, store)
		lender.advance(lease)
		_, ctx = claim(t, store)
		require.Equal(t, 2, leased.Attempt(ctx))
	})
}

// lossy lends keys and loses its replies.
type lossy struct {
	*clocked
	err  error
	gone context.CancelFunc
}

func (l *lossy) Acquire(ctx context.Context, key idempotency.Key, terms idempotency.Terms) (*idempotency.Lease, *idempotency.Record, error) {
	_, _, _ = l.clocked.Acquire(ctx, key, terms)
	if l.gone != nil {
		l.gone()
	}
	return nil, nil, l.err
}

func TestAClaimWhoseReplyWasLostGivesItsKeyBack(t *testing.T) {
	t.Parallel()
	lender := newClocked(t)
	_, _, err := open(t, &lossy{clocked: lender, err: errAway}).Claim(t.Context(), key)
	require.ErrorIs(t, err, errAway)
	attempt, ctx := claim(t, open(t, lender))
	require.NoError(t, attempt.Release(ctx))

	client, cancel := context.WithCancel(t.Context())
	_, _, err = open(t, &lossy{clocked: lender, err: idempotency.AsError(errors.New("the client is gone")), gone: cancel}).Claim(client, key)
	require.Error(t, err)
	claim(t, open(t, lender))
}
