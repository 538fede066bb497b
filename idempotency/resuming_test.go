package idempotency_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

func TestADeployMayAddStepsAtTheEndAndNothingElse(t *testing.T) {
	t.Parallel()
	stored := []string{"atomic ride", "foreign card"}
	for _, c := range []struct {
		name  string
		steps []string
		runs  string // what a resumed run does; empty with an error: it must not do anything
		ok    bool
	}{
		{"the same", stored, "", true},
		{"added after", []string{"atomic ride", "foreign card", "atomic receipt"}, "receipt", true},
		{"renamed", []string{"atomic trip", "foreign card"}, "", false},
		{"the last one renamed", []string{"atomic ride", "foreign charge"}, "", false},
		{"the last one removed", []string{"atomic ride"}, "", false},
		{"the first one removed", []string{"foreign card"}, "", false},
		{"all removed", nil, "", false},
		{"added before", []string{"atomic account", "atomic ride", "foreign card"}, "", false},
		{"added between", []string{"atomic ride", "atomic account", "foreign card"}, "", false},
		{"in another order", []string{"foreign card", "atomic ride"}, "", false},
		{"an atomic phase made a foreign call", []string{"foreign ride", "foreign card"}, "", false},
		{"a foreign call made an atomic phase", []string{"atomic ride", "atomic card"}, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			engine := w.engine(idempotency.Config{})
			_, err := engine.Run(t.Context(), request, w.program(errDown, stored...))
			require.Same(t, errDown, err)
			w.wantDone("ride", "card")
			before := w.pending()
			if c.ok {
				w.completes(engine, w.program(nil, c.steps...))
				w.wantDone(strings.Fields(c.runs)...)
				return
			}
			w.wantEvents(idempotency.Claimed, idempotency.Released)
			for _, ends := range []idempotency.Handler{
				w.program(nil, c.steps...),
				func(ctx context.Context) (idempotency.Response, error) { // an error that is hidden, and an answer to be kept
					_, _ = w.program(nil, c.steps...)(ctx)
					return idempotency.Response{Status: 422}, nil
				},
			} {
				_, err = engine.Run(t.Context(), request, ends)
				require.ErrorIs(t, err, idempotency.ErrStepsChanged)
				require.Equal(t, before, w.pending(), "the row was touched")
				failed := w.wantEvents(idempotency.Claimed, idempotency.Resumed, idempotency.Failed)
				require.ErrorIs(t, failed.Err, idempotency.ErrStepsChanged)
				require.Equal(t, 503, failed.Status)
			}
			w.completes(engine, w.program(nil, stored...))
			w.wantDone()
		})
	}
}

func TestAHandlerThatFailsBeforeItsStepsLeavesThem(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := w.engine(idempotency.Config{})
	for _, steps := range [][]string{{"atomic one", "atomic two"}, {"atomic one"}, nil} {
		_, err := engine.Run(t.Context(), request, w.program(errDown, steps...))
		require.Same(t, errDown, err)
	}
	require.Equal(t, 3, w.pending().Attempt)
	w.completes(engine, w.program(nil, "atomic one", "atomic two"))
	w.wantDone("one", "two")
}

func TestAStoredResultThatDoesNotFitIsAChangedStep(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := w.engine(idempotency.Config{})
	_, err := engine.Run(t.Context(), request, w.program(errDown, "atomic one"))
	require.Same(t, errDown, err)
	before := w.pending()
	_, err = engine.Run(t.Context(), request, func(ctx context.Context) (idempotency.Response, error) {
		_, err := idempotency.Atomic(ctx, "one", func(context.Context) (int, error) { t.Error("ran"); return 0, nil })
		require.ErrorIs(t, err, idempotency.ErrStepsChanged)
		return idempotency.Response{Status: 201}, nil
	})
	require.ErrorIs(t, err, idempotency.ErrStepsChanged)
	require.ErrorContains(t, err, `the stored result of step "one" does not fit int`)
	require.Equal(t, before, w.pending())
}

func TestAStepsChangedAfterAStepOfItsOwnKeepsThat(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := w.engine(idempotency.Config{})
	_, err := engine.Run(t.Context(), request, w.program(errDown, "atomic one"))
	require.Same(t, errDown, err)
	_, err = engine.Run(t.Context(), request, func(ctx context.Context) (idempotency.Response, error) {
		require.NoError(t, w.do(ctx, "atomic one"))
		require.NoError(t, w.do(ctx, "atomic two"))
		_, err := idempotency.Atomic(ctx, "three", func(context.Context) (asymmetric, error) { return asymmetric{}, nil })
		return idempotency.Response{Status: 201}, err
	})
	require.ErrorIs(t, err, idempotency.ErrStepsChanged)
	require.Equal(t, "three", w.pending().RecoveryPoint)
	require.Contains(t, w.pending().LastError, "does not fit")
}

// asymmetric is a result that is stored and cannot be read.
type asymmetric struct{}

func (asymmetric) MarshalJSON() ([]byte, error)  { return []byte(`"x"`), nil }
func (*asymmetric) UnmarshalJSON(b []byte) error { return errors.New("not this way") }

func TestAnotherRequestWithAPendingKeyIsRefusedAndTouchesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := w.engine(idempotency.Config{})
	_, err := engine.Run(t.Context(), request, w.program(errDown, "atomic one"))
	require.Same(t, errDown, err)
	w.wantEvents(idempotency.Claimed, idempotency.Released)
	before := w.pending()
	other := request
	other.Fingerprint[0] = 1
	_, err = engine.Run(t.Context(), other, never(t))
	require.ErrorIs(t, err, idempotency.ErrKeyReused)
	require.Equal(t, 422, w.wantEvents(idempotency.Reused).Status)
	require.Equal(t, before, w.pending())

	other.Matches = func(stored idempotency.Fingerprint) bool { return stored == request.Fingerprint }
	_, err = engine.Run(t.Context(), other, w.program(nil, "atomic one"))
	require.NoError(t, err, "an older recipe of the same request resumes")
	w.wantDone("one")
}

func TestARequestIsDescribedOnceAndOnlyWhereItMayBeNeeded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := w.engine(idempotency.Config{})
	described := request
	described.Describe = func() ([]byte, error) { w.did("described"); return []byte("the request"), nil }
	_, err := engine.Run(t.Context(), described, w.program(errDown))
	require.Same(t, errDown, err)
	w.wantDone()
	_, err = engine.Run(t.Context(), described, w.program(errDown, "atomic one", "atomic two"))
	require.Same(t, errDown, err)
	w.wantDone("one", "described", "two")
	_, err = engine.Run(t.Context(), described, w.program(errDown, "atomic one", "atomic two", "foreign three"))
	require.Same(t, errDown, err)
	w.wantDone("three")
	require.Equal(t, "the request", string(w.pending().Request))

	described.Key.Value = "another"
	described.Describe = func() ([]byte, error) { return nil, errDown }
	for _, step := range []string{"atomic one", "foreign one"} {
		_, err = engine.Run(t.Context(), described, w.program(nil, step))
		require.ErrorIs(t, err, idempotency.ErrInternal)
		require.ErrorIs(t, err, errDown)
		w.pending() // the first key's alone
	}
}

func TestWhatIsStoredOfAnErrorIsShortAndText(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := w.engine(idempotency.Config{})
	for text, want := range map[string]string{
		"plain":                        "plain",
		"nul\x00 and \xff":             "nul? and ?",
		strings.Repeat("x", 600):       strings.Repeat("x", 500),
		strings.Repeat("x", 499) + "ü": strings.Repeat("x", 499) + "?",
	} {
		_, err := engine.Run(t.Context(), request, w.program(errors.New(text), "atomic one"))
		require.Error(t, err)
		require.Equal(t, want, w.pending().LastError)
	}
}

func TestAListOfStepsThatCannotBeReadIsLeftAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	attempt, _, err := w.store.Claim(t.Context(), request.Key)
	require.NoError(t, err)
	require.NoError(t, attempt.(idempotency.Chain).Yield(t.Context(), idempotency.Progress{Steps: []byte("not ours"), Attempt: 1}))
	before := w.pending()
	_, err = w.engine(idempotency.Config{}).Run(t.Context(), request, never(t))
	require.ErrorIs(t, err, idempotency.ErrRecordUnreadable)
	require.Equal(t, before, w.pending())
	w.wantEvents(idempotency.Claimed, idempotency.Failed)
}
