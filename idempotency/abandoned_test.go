package idempotency_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/memstore"
)

// ledger is a store that knows how many of its attempts are not ended.
type ledger struct {
	*memstore.Store
	open atomic.Int32
}

type entry struct {
	idempotency.PendingCounter
	ledger *ledger
}

func (l *ledger) Claim(ctx context.Context, key idempotency.Key) (idempotency.Attempt, *idempotency.Record, error) {
	attempt, record, err := l.Store.Claim(ctx, key)
	if attempt == nil {
		return nil, record, err
	}
	l.open.Add(1)
	return entry{attempt.(idempotency.PendingCounter), l}, record, err
}

func (e entry) Complete(ctx context.Context, record *idempotency.Record, retention time.Duration) (idempotency.Settled, error) {
	e.ledger.open.Add(-1)
	return e.PendingCounter.Complete(ctx, record, retention)
}

func (e entry) Refuse(ctx context.Context, record *idempotency.Record, retention time.Duration) (idempotency.Settled, error) {
	e.ledger.open.Add(-1)
	return e.PendingCounter.Refuse(ctx, record, retention)
}

func (e entry) Release(ctx context.Context) error {
	e.ledger.open.Add(-1)
	return e.PendingCounter.Release(ctx)
}

func (e entry) Yield(ctx context.Context, progress idempotency.Progress) error {
	e.ledger.open.Add(-1)
	return e.PendingCounter.Yield(ctx, progress)
}

// trap is all that a service gives an engine. At one place it does not return.
type trap struct {
	idempotency.Sealer
	at, met string
	spring  func()
}

func (t *trap) pass(place string) {
	if place == t.at {
		t.met = place
		t.spring()
	}
}

func (t *trap) Seal(plain, bound []byte) ([]byte, error) {
	t.pass("seal " + map[byte]string{'r': "response", 's': "steps", 'q': "request"}[bound[1]])
	return t.Sealer.Seal(plain, bound)
}

func (t *trap) Open(sealed, bound []byte) ([]byte, error) {
	t.pass("open")
	return t.Sealer.Open(sealed, bound)
}

func (t *trap) Marshal(value any) ([]byte, error) {
	t.pass("marshal")
	return []byte(value.(string)), nil
}

func (t *trap) Unmarshal(data []byte, value any) error {
	t.pass("unmarshal")
	*value.(*string) = string(data)
	return nil
}

func (t *trap) Policy(response idempotency.Response, err error) idempotency.Outcome {
	t.pass("policy")
	return idempotency.DefaultPolicy(response, err)
}

func (t *trap) Observe(_ context.Context, event idempotency.Event) {
	t.pass("observer " + string(event.Kind))
}

// trapError is an error of the handler's, whose methods are the handler's code.
type trapError struct{ *trap }

func (t trapError) Error() string    { t.pass("error's text"); return "no" }
func (t trapError) Unwrap() error    { t.pass("error's cause"); return errDown }
func (t trapError) SQLState() string { t.pass("error's state"); return "23505" }

// lives runs keys through all that can become of them, and calls after each time. The trap is set where armed.
func (t *trap) lives(w *world, store idempotency.Store, config idempotency.Config, after func(*idempotency.Engine)) {
	place := t.at
	run := func(config idempotency.Config, armed bool, request idempotency.Request, status int, end error) {
		engine := engineOn(w.T, store, config)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			defer func() { _ = recover() }()
			if t.at = ""; armed {
				t.at = place
			}
			_, _ = engine.Run(context.WithoutCancel(w.Context()), request, func(ctx context.Context) (idempotency.Response, error) {
				return idempotency.Response{Status: status}, errors.Join(end, w.do(ctx, "atomic one"))
			})
		}()
		<-ended
		after(engine)
	}
	invalid := config
	invalid.Policy = func(idempotency.Response, error) idempotency.Outcome { return 0 }
	for key, last := range []int{201, 402} {
		mine := idempotency.Request{
			Key:      idempotency.Key{Scope: "alice", Value: fmt.Sprint(key)},
			Matches:  func(idempotency.Fingerprint) bool { t.pass("matches"); return true },
			Describe: func() ([]byte, error) { t.pass("describe"); return []byte("request"), nil },
		}
		changed, others := mine, mine
		changed.Fingerprint[0], others.Fingerprint[0] = 1, 1
		others.Matches = nil
		run(config, true, mine, 503, nil)
		run(config, false, mine, 503, nil) // leaves a recovery point
		run(config, true, mine, 503, nil)
		run(config, true, mine, 0, trapError{t})
		run(invalid, true, mine, 201, nil)
		run(config, true, changed, 503, nil)
		run(config, true, others, 503, nil)
		run(config, true, mine, last, nil)
	}
}

func TestWhereAPartOfTheServiceDoesNotReturnTheAttemptIsEnded(t *testing.T) {
	t.Parallel()
	sealedOnly := []string{"seal response", "seal steps", "seal request", "open"}
	plainOnly := []string{"error's text"}
	places := []string{
		"marshal", "unmarshal", "policy", "matches", "describe", "error's cause", "error's state", "observer claimed", "observer resumed",
		"observer completed", "observer refused", "observer released", "observer reused", "observer failed",
	}
	for name, spring := range map[string]func(){"panic": func() { panic("no") }, "goexit": runtime.Goexit} {
		for sealing, places := range map[string][]string{"plain": append(plainOnly, places...), "sealed": append(sealedOnly, places...)} {
			for _, place := range places {
				t.Run(fmt.Sprintf("%s/%s/%s", name, sealing, place), func(t *testing.T) {
					t.Parallel()
					trap := &trap{Sealer: keys(t, "a"), at: place, spring: spring}
					config := idempotency.Config{Policy: trap.Policy, Observer: trap.Observe, Codec: trap, MaxPendingPerScope: 9}
					if sealing == "sealed" {
						config.Sealer = trap
					}
					w := newWorld(t)
					store := &ledger{Store: w.store}
					trap.lives(w, store, config, func(engine *idempotency.Engine) {
						require.Zero(t, store.open.Load(), "an attempt is open")
						require.Zero(t, engine.Scopes())
						require.Zero(t, engine.Waiters())
					})
					require.Equal(t, place, trap.met)
				})
			}
		}
	}
}

// The nil pointer is the one that a handler returns which checks `if pg != nil` too late.
func TestAnErrorThatCannotBeAskedIsReturnedAsItIs(t *testing.T) {
	t.Parallel()
	var none *reported
	broken := fmt.Errorf("book: %w", none)
	for name, config := range map[string]idempotency.Config{"plain": {}, "sealed": {Sealer: keys(t, "a")}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			engine := w.engine(config)
			_, err := engine.Run(t.Context(), request, w.program(broken, "atomic one"))
			require.Same(t, broken, err)
			require.Equal(t, "internal", w.pending().LastError)
			w.wantEvents(idempotency.Claimed, idempotency.Released)
			w.completes(engine, w.program(nil, "atomic one"))
		})
	}
}

func TestAStepThatCannotBeSealedIsNotTakenForTheHandlers(t *testing.T) {
	t.Parallel()
	for _, place := range []string{"seal steps", "seal request"} {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			trap := &trap{Sealer: keys(t, "a"), at: place, spring: func() { panic("no") }}
			engine := w.engine(idempotency.Config{Sealer: trap})
			request := request
			request.Describe = func() ([]byte, error) { return []byte("request"), nil }
			_, err := engine.Run(t.Context(), request, func(ctx context.Context) (idempotency.Response, error) {
				func() {
					defer func() { _ = recover() }()
					_ = w.do(ctx, "atomic one")
				}()
				return idempotency.Response{Status: 201}, nil // with what the step has written
			})
			require.ErrorIs(t, err, idempotency.ErrStepMisuse)
			require.ErrorContains(t, err, "a step panicked")
			w.wantNothingPending()
			trap.at = ""
			w.completes(engine, w.program(nil, "atomic one"))
		})
	}
}

// ender is a store that finds out, when a step is undone, that its function has ended the transaction.
type ender struct{ idempotency.Store }

type enderChain struct{ idempotency.Chain }

func (e ender) Claim(ctx context.Context, key idempotency.Key) (idempotency.Attempt, *idempotency.Record, error) {
	attempt, record, err := e.Store.Claim(ctx, key)
	if chain, ok := attempt.(idempotency.Chain); ok {
		attempt = enderChain{chain}
	}
	return attempt, record, err
}

func (enderChain) Undo(context.Context) error { return idempotency.ErrTransactionEnded }

func TestAHandlerThatEndedItsTransactionIsNotResumedForHavingPanicked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := engineOn(t, ender{w.store}, idempotency.Config{})
	require.Panics(t, func() {
		_, _ = engine.Run(t.Context(), request, func(ctx context.Context) (idempotency.Response, error) {
			require.NoError(t, w.do(ctx, "atomic one"))
			_, err := idempotency.Atomic(ctx, "two", func(context.Context) (int, error) { return 0, errDown })
			require.ErrorIs(t, err, idempotency.ErrTransactionEnded)
			panic(err)
		})
	})
	_, err := engine.Run(t.Context(), request, never(t))
	require.ErrorIs(t, err, idempotency.ErrTransactionEnded)
}
