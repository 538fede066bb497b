package idempotency_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

// charged is a handler whose foreign call fails after its effect, so that nobody knows the outcome.
func (w *world) charged(then idempotency.Handler) idempotency.Handler {
	return func(ctx context.Context) (idempotency.Response, error) {
		if err := w.do(ctx, "atomic before"); err != nil {
			return idempotency.Response{}, err
		}
		_, err := idempotency.Foreign(ctx, "charged", func(context.Context, string) (int, error) { w.did("charged"); return 0, errDown })
		if then == nil {
			return idempotency.Response{}, err
		}
		return then(ctx)
	}
}

func TestAForeignCallInDoubtIsNotGoneRoundByTheAttemptThatMadeIt(t *testing.T) {
	t.Parallel()
	for name, then := range map[string]func(w *world) idempotency.Handler{
		"another provider":   func(w *world) idempotency.Handler { return w.program(nil, "foreign charged elsewhere") },
		"an atomic phase":    func(w *world) idempotency.Handler { return w.program(nil, "atomic noted") },
		"an atomic namesake": func(w *world) idempotency.Handler { return w.program(nil, "atomic charged") },
		"success":            func(w *world) idempotency.Handler { return w.program(nil) },
		"a refusal": func(*world) idempotency.Handler {
			return func(context.Context) (idempotency.Response, error) { return idempotency.Response{Status: 402}, nil }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			engine := w.engine(idempotency.Config{})
			_, err := engine.Run(t.Context(), request, w.charged(then(w)))
			require.ErrorIs(t, err, idempotency.ErrStepMisuse)
			require.ErrorContains(t, err, `the foreign call "charged" has failed`)
			require.Equal(t, "before", w.pending().RecoveryPoint)
			w.wantDone("before", "charged")
			w.completes(engine, w.program(nil, "atomic before", "foreign charged"))
			w.wantDone("charged")
		})
	}
}

func TestAForeignCallInDoubtIsNotGoneRoundByALaterAttempt(t *testing.T) {
	t.Parallel()
	for name, later := range map[string]func(w *world) idempotency.Handler{
		"renamed": func(w *world) idempotency.Handler { return w.program(nil, "atomic before", "foreign card_charged") },
		"another step comes first": func(w *world) idempotency.Handler {
			return w.program(nil, "atomic before", "atomic checked", "foreign charged")
		},
		"removed":            func(w *world) idempotency.Handler { return w.program(nil, "atomic before") },
		"code without steps": func(w *world) idempotency.Handler { return w.program(nil) },
		"refused before it": func(w *world) idempotency.Handler {
			return func(ctx context.Context) (idempotency.Response, error) {
				return idempotency.Response{Status: 403}, w.do(ctx, "atomic before")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			engine := w.engine(idempotency.Config{})
			_, err := engine.Run(t.Context(), request, w.charged(nil))
			require.Same(t, errDown, err)
			left := w.pending()
			w.wantDone("before", "charged")
			_, err = engine.Run(t.Context(), request, later(w))
			require.ErrorIs(t, err, idempotency.ErrStepsChanged)
			w.wantDone()
			require.Equal(t, left, w.pending(), "the row is not touched")
			w.completes(engine, w.program(nil, "atomic before", "foreign charged"))
			w.wantDone("charged")
		})
	}
}

func TestAKeyWhoseHandlerEndedItsTransactionIsHeldForAnOperator(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := w.engine(idempotency.Config{})
	ended := idempotency.ErrTransactionEnded.Because(errors.New("COMMIT"))
	_, err := engine.Run(t.Context(), request, func(ctx context.Context) (idempotency.Response, error) {
		return idempotency.Response{}, errors.Join(w.do(ctx, "atomic one"), ended)
	})
	require.ErrorIs(t, err, idempotency.ErrTransactionEnded)
	found, err := w.store.Pending(t.Context(), idempotency.Due{Limit: 1, MaxCompletions: idempotency.Held})
	require.NoError(t, err)
	require.Equal(t, idempotency.PendingKeys{Stuck: 1}, found)
	_, err = engine.Run(t.Context(), request, never(t))
	require.ErrorIs(t, err, idempotency.ErrTransactionEnded)
	w.wantPass(w.completer(engine, idempotency.CompleterConfig{}, resumes(engine, never(t))), idempotency.Pass{Stuck: 1})
}
