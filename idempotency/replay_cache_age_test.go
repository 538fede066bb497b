package idempotency_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

func TestOfARecordThatIsGoneACachedAnswerLastsForTheMaximalAge(t *testing.T) {
	t.Parallel()
	for name, maxAge := range map[string]time.Duration{"the default": 0, "another one": time.Minute} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newCachedWorld(t, idempotency.Config{CacheMaxAge: maxAge})
			if maxAge == 0 {
				maxAge = 10 * time.Second
			}
			_, err := w.pay(request)
			require.NoError(t, err)
			w.lose()
			w.clock.Awake(maxAge - 1)
			w.wantReplay(false)
			w.clock.Awake(1)
			result, err := w.pay(request)
			require.NoError(t, err)
			require.False(t, result.Replayed, "the record is gone")
			require.Equal(t, 2, w.runs)
		})
	}
}

func TestACachedAnswerIsAskedForAgainAfterTheMaximalAgeAndThenStaysInMemory(t *testing.T) {
	t.Parallel()
	w := newCachedWorld(t, idempotency.Config{})
	_, err := w.pay(request)
	require.NoError(t, err)
	for range 3 {
		w.clock.Awake(10 * time.Second)
		w.wantReplay(true)
		w.wantReplay(false)
	}
}

func TestACachedAnswerEndsWithItsRetention(t *testing.T) {
	t.Parallel()
	w := newCachedWorld(t, idempotency.Config{Retention: 3 * time.Second})
	_, err := w.pay(request)
	require.NoError(t, err)
	w.clock.Awake(3*time.Second - 1)
	w.wantReplay(false)
	w.clock.Awake(1)
	result, err := w.pay(request)
	require.NoError(t, err)
	require.False(t, result.Replayed)
	require.Equal(t, 2, w.runs)
}

func TestWhatIsReadOfARecordIsCachedForWhatIsLeftOfItsRetention(t *testing.T) {
	t.Parallel()
	w := newCachedWorld(t, idempotency.Config{Retention: 30 * time.Second})
	_, err := w.pay(request)
	require.NoError(t, err)
	w.clock.Awake(28 * time.Second)
	w.wantReplay(true)
	w.wantReplay(false)
	w.clock.Awake(2*time.Second - 1)
	w.wantReplay(false)
	w.clock.Awake(1)
	result, err := w.pay(request)
	require.NoError(t, err)
	require.False(t, result.Replayed)
}

// The store's answer may take its time: what it says was left may be over when it arrives.
func TestTheRetentionOfARecordIsCountedFromBeforeItWasAskedFor(t *testing.T) {
	t.Parallel()
	w := newCachedWorld(t, idempotency.Config{Retention: 5 * time.Second})
	slow := &slow{Store: w.store, clock: w.clock}
	w.engine = engineOn(t, slow, idempotency.Config{Cache: w.cache, Retention: 5 * time.Second})
	w.engine.SetClock(w.clock)
	slow.takes = 2 * time.Second
	_, err := w.pay(request) // begun at 0, claimed at 2, completed at 2 by the store's clock, answered at 4
	require.NoError(t, err)
	left := w.cache.Get(request.Key).Left()
	require.Equal(t, 3*time.Second, left, "completed at the earliest when the store was told to")
	slow.takes = 2500 * time.Millisecond
	result, err := engineOn(t, w.store, idempotency.Config{}).Run(t.Context(), request, nil)
	require.NoError(t, err)
	require.True(t, result.Replayed)
	w.cache.held = nil
	_, err = w.pay(request) // asked at 4, read at 4, 3 left, answered at 6.5
	require.NoError(t, err)
	require.Equal(t, 500*time.Millisecond, w.cache.Get(request.Key).Left())
	w.cache.held = nil
	slow.takes = time.Second
	_, err = w.pay(request) // asked at 6.5, 0.5 left, answered at 7.5
	require.NoError(t, err)
	require.Nil(t, w.cache.Get(request.Key), "it was over when it came")
}

// slow is a store whose answers are under way for a while.
type slow struct {
	idempotency.Store
	clock *idempotency.Clock
	takes time.Duration
}

func (s *slow) Claim(ctx context.Context, key idempotency.Key) (idempotency.Attempt, *idempotency.Record, error) {
	attempt, record, err := s.Store.Claim(ctx, key)
	s.clock.Awake(s.takes)
	if attempt == nil {
		return nil, record, err
	}
	return &slowAttempt{attempt, s}, record, err
}

func (s *slow) Lookup(ctx context.Context, key idempotency.Key) (*idempotency.Record, error) {
	defer s.clock.Awake(s.takes)
	return s.Store.Lookup(ctx, key)
}

type slowAttempt struct {
	idempotency.Attempt
	store *slow
}

func (a *slowAttempt) Complete(ctx context.Context, record *idempotency.Record, retention time.Duration) (idempotency.Settled, error) {
	defer a.store.clock.Awake(a.store.takes)
	return a.Attempt.Complete(ctx, record, retention)
}

func TestWhileAMachineIsSuspendedItsCacheAges(t *testing.T) {
	t.Parallel()
	w := newCachedWorld(t, idempotency.Config{})
	_, err := w.pay(request)
	require.NoError(t, err)
	w.clock.Asleep(10*time.Second - 1)
	w.wantReplay(false)
	w.clock.Asleep(1)
	w.wantReplay(true)
	w.clock.Asleep(-time.Hour) // somebody sets the clock back
	w.clock.Awake(10 * time.Second)
	w.wantReplay(true)
}
