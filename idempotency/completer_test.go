package idempotency_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

func (w *world) completer(engine *idempotency.Engine, config idempotency.CompleterConfig, resume idempotency.Resume) *idempotency.Completer {
	completer, err := idempotency.NewCompleter(engine, resume, config)
	require.NoError(w, err)
	return completer
}

// resumes makes a pending key's request again, with this handler.
func resumes(engine *idempotency.Engine, handler idempotency.Handler) idempotency.Resume {
	return func(ctx context.Context, pending idempotency.Pending) error {
		_, err := engine.Run(ctx, idempotency.Request{Key: pending.Key}, handler)
		return err
	}
}

func (w *world) wantPass(completer *idempotency.Completer, want idempotency.Pass) {
	w.Helper()
	got, err := completer.Pass(w.Context())
	require.NoError(w, err)
	require.Equal(w, want, got)
}

// leaves leaves keys at their first step, with this request.
func (w *world) leaves(engine *idempotency.Engine, keys int) {
	for n := range keys {
		left := idempotency.Request{Key: idempotency.Key{Scope: "alice", Value: fmt.Sprint("payment-", n+1)}}
		left.Describe = func() ([]byte, error) { return json.Marshal(n + 1) }
		_, err := engine.Run(w.Context(), left, w.program(errDown, "atomic one"))
		require.Same(w, errDown, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done, w.events = nil, nil
}

func TestACompleterIsCheckedWhenItIsMade(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := w.engine(idempotency.Config{})
	resume := resumes(engine, never(t))
	_, err := idempotency.NewCompleter(nil, resume, idempotency.CompleterConfig{})
	require.ErrorContains(t, err, "needs an engine and a Resume")
	_, err = idempotency.NewCompleter(engine, nil, idempotency.CompleterConfig{})
	require.ErrorContains(t, err, "needs an engine and a Resume")
	_, err = idempotency.NewCompleter(engineOn(t, stepless{w.store}, idempotency.Config{}), resume, idempotency.CompleterConfig{})
	require.ErrorContains(t, err, "cannot list its pending keys: use pgstore")
	_, err = idempotency.NewCompleter(engine, resume, idempotency.CompleterConfig{
		Interval: -1, Budget: -1, Backoff: -1, MaxBackoff: -1, DesiredConcurrency: -1, Batch: -1, MaxAttempts: -1,
	})
	for _, name := range []string{"Interval", "Budget", "Backoff", "MaxBackoff", "DesiredConcurrency", "Batch", "MaxAttempts"} {
		require.ErrorContains(t, err, "CompleterConfig."+name+" is -1")
	}
	_, err = idempotency.New(w.store, idempotency.Config{Lease: time.Millisecond})
	require.ErrorContains(t, err, "Config.Lease is 1ms: give at least 10ms")
}

func TestTheCompleterCarriesAKeyToItsEndWithNobodyRetrying(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := w.engine(idempotency.Config{})
	w.leaves(engine, 1)
	completer := w.completer(engine, idempotency.CompleterConfig{}, func(ctx context.Context, pending idempotency.Pending) error {
		require.Equal(t, request.Key, pending.Key)
		require.Equal(t, "1", string(pending.Request))
		require.Equal(t, "one", pending.RecoveryPoint)
		resuming, ok := idempotency.Resuming(ctx)
		require.True(t, ok)
		require.Equal(t, pending, *resuming)
		return resumes(engine, w.program(nil, "atomic one", "foreign two"))(ctx, pending)
	})
	w.wantPass(completer, idempotency.Pass{Found: 1, Completed: 1})
	w.wantDone("two")
	w.wantEvents(idempotency.Claimed, idempotency.Resumed, idempotency.Completed)
	w.wantPass(completer, idempotency.Pass{})
	result, err := engine.Run(t.Context(), request, never(t))
	require.NoError(t, err)
	require.Equal(t, "done", string(result.Response.Body))
	_, ok := idempotency.Resuming(t.Context())
	require.False(t, ok)
}

func TestTheCompleterTakesARefusalForAnEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := w.engine(idempotency.Config{})
	w.leaves(engine, 1)
	w.wantPass(w.completer(engine, idempotency.CompleterConfig{}, resumes(engine, func(ctx context.Context) (idempotency.Response, error) {
		return idempotency.Response{Status: 402}, w.do(ctx, "atomic one")
	})), idempotency.Pass{Found: 1, Completed: 1})
	w.wantNothingPending()
}

func TestTheCompleterLeavesAKeyWhoseOwnerLives(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := w.engine(idempotency.Config{})
	completer := w.completer(w.engine(idempotency.Config{}), idempotency.CompleterConfig{}, func(context.Context, idempotency.Pending) error {
		t.Error("resumed")
		return nil
	})
	w.completes(engine, func(ctx context.Context) (idempotency.Response, error) {
		require.NoError(t, w.do(ctx, "atomic one"))
		w.wantPass(completer, idempotency.Pass{})
		return idempotency.Response{Status: 201}, nil
	})
}

func TestTheCompleterCountsBacksOffAndGivesUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := w.engine(idempotency.Config{})
	w.leaves(engine, 1)
	completer := w.completer(engine, idempotency.CompleterConfig{MaxAttempts: 4, Backoff: time.Second, MaxBackoff: 3 * time.Second},
		resumes(engine, w.program(errors.New("still down"), "atomic one")))
	for n, pause := range []time.Duration{0, time.Second, 2 * time.Second, 3 * time.Second} {
		if pause > 0 {
			w.pass(pause - 1)
			w.wantPass(completer, idempotency.Pass{})
			w.pass(1)
		}
		w.wantPass(completer, idempotency.Pass{Found: 1, Pending: 1})
		w.wantEvents(idempotency.Claimed, idempotency.Resumed, idempotency.Released)
		left := w.pending()
		require.Equal(t, n+1, left.Completions)
		require.Equal(t, n+2, left.Attempt)
		require.Equal(t, "still down", left.LastError)
	}
	w.pass(time.Hour)
	w.wantPass(completer, idempotency.Pass{Stuck: 1})
	require.Equal(t, 1, w.wantEvents(idempotency.Stuck).Count)
	w.completes(engine, w.program(nil, "atomic one"))
	w.wantDone()
}

func TestAnAttemptOfTheCompleterIsCountedBeforeItRuns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := w.engine(idempotency.Config{})
	w.leaves(engine, 1)
	dying := &mortal{Store: w.store}
	other := engineOn(t, dying, idempotency.Config{Lease: time.Second})
	w.wantPass(w.completer(engine, idempotency.CompleterConfig{}, resumes(other, func(ctx context.Context) (idempotency.Response, error) {
		dying.dead.Store(true) // a step that kills the process
		return idempotency.Response{}, errDown
	})), idempotency.Pass{Found: 1, Pending: 1})
	w.pass(time.Second)
	require.Equal(t, 1, w.pending().Completions)
	require.Equal(t, 2, w.pending().Attempt)
}

func TestARequestThatDoesNotReachTheEngineIsCountedWithItsReason(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		resume idempotency.Resume
		says   string
	}{
		{"an error", func(context.Context, idempotency.Pending) error { return errDown }, errDown.Error()},
		{"an answer from elsewhere", func(context.Context, idempotency.Pending) error { return nil }, "before it reached the middleware"},
		{"a panic", func(context.Context, idempotency.Pending) error { panic("no") }, "the handler panicked: no"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			engine := w.engine(idempotency.Config{})
			w.leaves(engine, 1)
			completer := w.completer(engine, idempotency.CompleterConfig{MaxAttempts: 2}, c.resume)
			for n := 1; n <= 2; n++ {
				w.wantPass(completer, idempotency.Pass{Found: 1, Pending: 1})
				left := w.pending()
				require.Equal(t, n, left.Completions)
				require.Contains(t, left.LastError, c.says)
				failed := w.wantEvents(idempotency.Failed)
				require.ErrorContains(t, failed.Err, c.says)
				require.Equal(t, "alice", failed.Scope)
				w.pass(time.Minute)
			}
			w.wantPass(completer, idempotency.Pass{Stuck: 1})
		})
	}
}

func TestWhatResumePanicsWithIsToldAsAnErrorWouldBe(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := w.engine(idempotency.Config{})
	w.leaves(engine, 1)
	server := &reported{`relation "accounts_of_bob" does not exist`, "42P01"}
	w.wantPass(w.completer(engine, idempotency.CompleterConfig{}, func(context.Context, idempotency.Pending) error {
		panic(fmt.Errorf("whose is it: %w", server))
	}), idempotency.Pass{Found: 1, Pending: 1})
	require.Equal(t, "idempotency: the handler panicked: whose is it: SQLSTATE 42P01", w.pending().LastError)
	require.ErrorIs(t, w.wantEvents(idempotency.Failed).Err, server)
}

func TestASealerThatPanicsDoesNotEndTheCompleter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	trap := &trap{Sealer: keys(t, "a"), spring: func() { panic("no key service") }}
	engine := w.engine(idempotency.Config{Sealer: trap})
	w.leaves(engine, 1)
	trap.at = "open"
	completer := w.completer(engine, idempotency.CompleterConfig{}, func(context.Context, idempotency.Pending) error {
		t.Error("the request was made")
		return nil
	})
	w.wantPass(completer, idempotency.Pass{Found: 1, Pending: 1})
	require.Equal(t, 1, w.pending().Completions)
	require.ErrorContains(t, w.wantEvents(idempotency.Failed).Err, "no key service")
}

func TestAnErrorOfResumeThatCannotBeAskedIsCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := w.engine(idempotency.Config{})
	w.leaves(engine, 1)
	trap := &trap{at: "error's cause", spring: func() { panic("no") }}
	w.wantPass(w.completer(engine, idempotency.CompleterConfig{}, func(context.Context, idempotency.Pending) error { return trapError{trap} }),
		idempotency.Pass{Found: 1, Pending: 1})
	require.Equal(t, 1, w.pending().Completions)
}

func TestAResumeThatEndsItsGoroutineIsCountedAndKeepsNoSlot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := w.engine(idempotency.Config{})
	w.leaves(engine, 3)
	w.wantPass(w.completer(engine, idempotency.CompleterConfig{DesiredConcurrency: 1}, func(context.Context, idempotency.Pending) error {
		runtime.Goexit()
		return nil
	}), idempotency.Pass{Found: 3, Pending: 3})
	found, err := w.store.Pending(t.Context(), idempotency.Due{Limit: 10, MaxCompletions: 10})
	require.NoError(t, err)
	for _, left := range found.Keys {
		require.Equal(t, 1, left.Completions)
		require.Equal(t, "idempotency: the handler panicked", left.LastError)
	}
}

func TestAHandlersPanicDoesNotEndTheCompleter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := w.engine(idempotency.Config{})
	w.leaves(engine, 3)
	w.wantPass(w.completer(engine, idempotency.CompleterConfig{}, func(ctx context.Context, pending idempotency.Pending) error {
		return resumes(engine, func(ctx context.Context) (idempotency.Response, error) {
			if pending.Key == request.Key {
				panic("no")
			}
			return w.program(nil, "atomic one")(ctx)
		})(ctx, pending)
	}), idempotency.Pass{Found: 3, Completed: 2, Pending: 1})
	left := w.pending()
	require.Equal(t, request.Key, left.Key)
	require.Equal(t, 1, left.Completions)
	require.Equal(t, "idempotency: the handler panicked", left.LastError)
}

func TestTheCompleterKeepsWhyTheCodeDoesNotFit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := w.engine(idempotency.Config{})
	w.leaves(engine, 1)
	steps := w.pending().Steps
	w.wantPass(w.completer(engine, idempotency.CompleterConfig{}, resumes(engine, w.program(nil, "atomic other"))), idempotency.Pass{Found: 1, Pending: 1})
	left := w.pending()
	require.Equal(t, steps, left.Steps)
	require.Equal(t, 1, left.Completions)
	require.Contains(t, left.LastError, `has done step "one"`)
}

func TestTheCompletersRequestWithAnotherFingerprintIsCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := w.engine(idempotency.Config{})
	w.leaves(engine, 1)
	w.wantPass(w.completer(engine, idempotency.CompleterConfig{}, func(ctx context.Context, pending idempotency.Pending) error {
		other := idempotency.Request{Key: pending.Key}
		other.Fingerprint[0] = 1
		_, err := engine.Run(ctx, other, never(t))
		return err
	}), idempotency.Pass{Found: 1, Pending: 1})
	require.Equal(t, 1, w.pending().Completions)
	require.Contains(t, w.pending().LastError, "key-reused")
}

func TestDoIsResumedFromItsRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := w.engine(idempotency.Config{})
	work := func(ctx context.Context, key idempotency.Key, amount int, fail error) (receipt, error) {
		message := idempotency.Request{Key: key, Describe: func() ([]byte, error) { return json.Marshal(amount) }}
		return idempotency.Do(ctx, engine, message, func(ctx context.Context) (receipt, error) {
			charged, err := idempotency.Foreign(ctx, "card", func(context.Context, string) (int, error) { w.did("card"); return amount, nil })
			if err != nil {
				return receipt{}, err
			}
			return receipt{charged}, fail
		})
	}
	_, err := work(t.Context(), request.Key, 100, errDown)
	require.Same(t, errDown, err)
	w.wantPass(w.completer(engine, idempotency.CompleterConfig{}, func(ctx context.Context, pending idempotency.Pending) error {
		var amount int
		if err := json.Unmarshal(pending.Request, &amount); err != nil {
			return err
		}
		_, err := work(ctx, pending.Key, amount, nil)
		return err
	}), idempotency.Pass{Found: 1, Completed: 1})
	got, err := work(t.Context(), request.Key, 100, nil)
	require.NoError(t, err)
	require.Equal(t, receipt{100}, got)
	w.wantDone("card")
}

func TestAKeyThatAClientCompletesMeanwhileIsCompleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := w.engine(idempotency.Config{})
	w.leaves(engine, 1)
	w.wantPass(w.completer(engine, idempotency.CompleterConfig{}, func(ctx context.Context, pending idempotency.Pending) error {
		_, err := w.engine(idempotency.Config{}).Run(context.WithoutCancel(t.Context()), request, w.program(nil, "atomic one"))
		require.NoError(t, err)
		return resumes(engine, never(t))(ctx, pending)
	}), idempotency.Pass{Found: 1, Completed: 1})
}

func TestAKeyThatExpiresMeanwhileIsNotBegunAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := w.engine(idempotency.Config{})
	w.leaves(engine, 1)
	w.wantPass(w.completer(engine, idempotency.CompleterConfig{}, func(ctx context.Context, pending idempotency.Pending) error {
		_, err := w.engine(idempotency.Config{}).Run(context.WithoutCancel(t.Context()), request, w.program(nil, "atomic one"))
		require.NoError(t, err)
		w.pass(25 * time.Hour)
		return resumes(engine, never(t))(ctx, pending)
	}), idempotency.Pass{Found: 1, Pending: 1})
	w.completes(engine, w.program(nil, "atomic one")) // a client may
}

func TestAClientThatComesWhileTheCompleterWorksIsTurnedAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := w.engine(idempotency.Config{})
	w.leaves(engine, 1)
	w.wantPass(w.completer(engine, idempotency.CompleterConfig{}, resumes(engine, func(ctx context.Context) (idempotency.Response, error) {
		for _, e := range []*idempotency.Engine{engine, w.engine(idempotency.Config{})} {
			_, err := e.Run(t.Context(), request, never(t))
			require.ErrorIs(t, err, idempotency.ErrInProgress)
		}
		return w.program(nil, "atomic one")(ctx)
	})), idempotency.Pass{Found: 1, Completed: 1})
}
