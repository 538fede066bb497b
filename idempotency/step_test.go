package idempotency_test

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

type charge struct {
	ID     string
	secret string
	At     *time.Location `json:"-"`
}

func TestAStepThatWasKeptIsNotRunAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := w.engine(idempotency.Config{})
	steps := []string{"atomic ride", "foreign card", "atomic receipt"}
	_, err := engine.Run(t.Context(), request, w.program(errDown, steps...))
	require.Same(t, errDown, err)
	w.wantDone("ride", "card", "receipt")
	w.wantEvents(idempotency.Claimed, idempotency.Released)
	left := w.pending()
	require.Equal(t, request.Key, left.Key)
	require.Equal(t, "receipt", left.RecoveryPoint)
	require.Equal(t, 1, left.Attempt)
	require.Equal(t, errDown.Error(), left.LastError)

	_, err = engine.Run(t.Context(), request, w.program(errDown, steps...))
	require.Same(t, errDown, err)
	require.Equal(t, 2, w.pending().Attempt)
	w.wantEvents(idempotency.Claimed, idempotency.Resumed, idempotency.Released)
	w.completes(engine, w.program(nil, steps...))
	w.wantDone()
	w.wantEvents(idempotency.Claimed, idempotency.Resumed, idempotency.Completed, idempotency.Replayed)
}

// appending is a codec that appends to what it is given.
type appending struct{}

func (appending) Marshal(value any) ([]byte, error) { return []byte(value.(string)), nil }

func (appending) Unmarshal(data []byte, value any) error {
	*value.(*string) = string(data)
	_ = append(data, "and more"...)
	return nil
}

func TestAResultHasNoRoomInTheNextOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := w.engine(idempotency.Config{Codec: appending{}})
	for _, end := range []error{errDown, errDown, nil} {
		_, err := engine.Run(t.Context(), request, w.program(end, "atomic one", "atomic two", "atomic three"))
		require.ErrorIs(t, err, end)
	}
}

func TestAnAnswerThatSaysNoLaterKeepsTheRecoveryPoint(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := w.engine(idempotency.Config{})
	result, err := engine.Run(t.Context(), request, func(ctx context.Context) (idempotency.Response, error) {
		return idempotency.Response{Status: 503}, w.do(ctx, "atomic one")
	})
	require.NoError(t, err)
	require.Equal(t, 503, result.Response.Status)
	require.Equal(t, "the handler answered 503", w.pending().LastError)
	w.completes(engine, w.program(nil, "atomic one"))
	w.wantDone("one")
}

func TestARefusalAfterAStepIsKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := w.engine(idempotency.Config{})
	w.completes(engine, func(ctx context.Context) (idempotency.Response, error) {
		return idempotency.Response{Status: 402}, w.do(ctx, "atomic one")
	})
	w.wantEvents(idempotency.Claimed, idempotency.Refused, idempotency.Replayed)
}

func TestAResultGoesThroughTheCodecTheFirstTimeToo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := w.engine(idempotency.Config{})
	for _, end := range []error{errDown, nil} {
		_, err := engine.Run(t.Context(), request, func(ctx context.Context) (idempotency.Response, error) {
			paid, err := idempotency.Atomic(ctx, "atomic", func(context.Context) (*charge, error) {
				return &charge{ID: "ch_1", secret: "dropped", At: time.UTC}, nil
			})
			require.NoError(t, err)
			require.Equal(t, &charge{ID: "ch_1"}, paid)
			foreign, err := idempotency.Foreign(ctx, "foreign", func(context.Context, string) (charge, error) {
				return charge{ID: "ch_2", secret: "dropped"}, nil
			})
			require.NoError(t, err)
			require.Equal(t, charge{ID: "ch_2"}, foreign)
			none, err := idempotency.Atomic(ctx, "nothing", func(context.Context) (*charge, error) { return nil, nil })
			require.NoError(t, err)
			require.Nil(t, none)
			return idempotency.Response{Status: 201}, end
		})
		require.Equal(t, end, err)
	}
}

type gobCodec struct{}

func (gobCodec) Marshal(value any) ([]byte, error) {
	var b bytes.Buffer
	err := gob.NewEncoder(&b).Encode(value)
	return b.Bytes(), err
}

func (gobCodec) Unmarshal(data []byte, value any) error {
	return gob.NewDecoder(bytes.NewReader(data)).Decode(value)
}

func TestACodecCanBeReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := w.engine(idempotency.Config{Codec: gobCodec{}})
	for _, end := range []error{errDown, nil} {
		_, err := engine.Run(t.Context(), request, func(ctx context.Context) (idempotency.Response, error) {
			got, err := idempotency.Atomic(ctx, "one", func(context.Context) (map[int]complex128, error) {
				w.did("one")
				return map[int]complex128{1: 2i}, nil // JSON has none
			})
			require.NoError(t, err)
			require.Equal(t, map[int]complex128{1: 2i}, got)
			return idempotency.Response{Status: 201}, end
		})
		require.Equal(t, end, err)
	}
	w.wantDone("one")
}

func TestAFailingStepLeavesTheRecoveryPointWhereItWas(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"atomic", "foreign"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			engine := w.engine(idempotency.Config{})
			keys := map[string]bool{}
			fails := func(ctx context.Context) (idempotency.Response, error) {
				require.NoError(t, w.do(ctx, "atomic before"))
				var err error
				if kind == "atomic" {
					_, err = idempotency.Atomic(ctx, "fails", func(context.Context) (int, error) { w.did("fails"); return 0, errDown })
				} else {
					_, err = idempotency.Foreign(ctx, "fails", func(_ context.Context, key string) (int, error) {
						w.did("fails")
						keys[key] = true
						return 0, errDown
					})
				}
				require.Same(t, errDown, err, "an error of the function is returned as it is")
				return idempotency.Response{}, err
			}
			for attempt := 1; attempt <= 3; attempt++ {
				_, err := engine.Run(t.Context(), request, fails)
				require.Same(t, errDown, err)
				require.Equal(t, "before", w.pending().RecoveryPoint)
				require.Equal(t, attempt, w.pending().Attempt)
			}
			w.wantDone("before", "fails", "fails", "fails")
			if kind == "foreign" {
				require.Equal(t, map[string]bool{idempotency.ForeignKey(request.Key, "fails"): true}, keys)
			}
			w.completes(engine, w.program(nil, "atomic before", kind+" fails"))
			w.wantDone("fails")
		})
	}
}

func TestAHandlerMayGoOnAfterAnAtomicPhaseThatFailed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.completes(w.engine(idempotency.Config{}), func(ctx context.Context) (idempotency.Response, error) {
		_, err := idempotency.Atomic(ctx, "note", func(context.Context) (int, error) { return 0, errDown })
		require.Same(t, errDown, err)
		return idempotency.Response{Status: 201}, w.do(ctx, "foreign provider")
	})
}

func TestAKeyWhoseFirstStepFailsIsFreeUnlessItWasAForeignCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := w.engine(idempotency.Config{})
	_, err := engine.Run(t.Context(), request, func(ctx context.Context) (idempotency.Response, error) {
		_, err := idempotency.Atomic(ctx, "one", func(context.Context) (int, error) { return 0, errDown })
		return idempotency.Response{}, err
	})
	require.Same(t, errDown, err)
	w.wantNothingPending()
	_, err = engine.Run(t.Context(), request, func(ctx context.Context) (idempotency.Response, error) {
		_, err := idempotency.Foreign(ctx, "one", func(context.Context, string) (int, error) { return 0, errDown })
		return idempotency.Response{}, err
	})
	require.Same(t, errDown, err)
	require.Empty(t, w.pending().RecoveryPoint)
}

func TestAPanicInAStepKeepsTheStepsBeforeIt(t *testing.T) {
	t.Parallel()
	for _, recovers := range []bool{false, true} {
		for _, kind := range []string{"atomic", "foreign"} {
			w := newWorld(t)
			engine := w.engine(idempotency.Config{})
			run := func() (idempotency.Result, error) {
				return engine.Run(t.Context(), request, func(ctx context.Context) (idempotency.Response, error) {
					require.NoError(t, w.do(ctx, "atomic before"))
					if recovers {
						defer func() { _ = recover() }()
					}
					if kind == "atomic" {
						_, _ = idempotency.Atomic(ctx, "panics", func(context.Context) (int, error) { panic("no") })
					}
					_, _ = idempotency.Foreign(ctx, "panics", func(context.Context, string) (int, error) { panic("no") })
					return idempotency.Response{Status: 201}, nil
				})
			}
			if recovers {
				_, err := run()
				require.ErrorIs(t, err, idempotency.ErrStepMisuse)
				require.ErrorContains(t, err, "a step panicked")
			} else {
				require.PanicsWithValue(t, "no", func() { _, _ = run() })
				require.Equal(t, "idempotency: the handler panicked", w.pending().LastError)
			}
			require.Equal(t, "before", w.pending().RecoveryPoint)
			w.wantDone("before")
			w.completes(engine, w.program(nil, "atomic before", kind+" panics"))
			w.wantDone("panics")
		}
	}
}

// misuses are handlers that hide the error that they get.
var misuses = map[string]struct {
	says    string
	handler func(w *world, ctx context.Context)
}{
	"two steps of one name": {`two steps are named "one"`, func(w *world, ctx context.Context) {
		_ = w.do(ctx, "atomic one")
		_ = w.do(ctx, "foreign one")
	}},
	"a step inside a step": {`"inner" was begun inside or beside`, func(w *world, ctx context.Context) {
		_, _ = idempotency.Atomic(ctx, "outer", func(ctx context.Context) (int, error) { _ = w.do(ctx, "atomic inner"); return 0, nil })
	}},
	"a step inside a foreign call": {`"inner" was begun inside or beside`, func(w *world, ctx context.Context) {
		_, _ = idempotency.Foreign(ctx, "outer", func(ctx context.Context, _ string) (int, error) { _ = w.do(ctx, "atomic inner"); return 0, nil })
	}},
	"a step beside a step": {`"other" was begun inside or beside`, func(w *world, ctx context.Context) {
		_, _ = idempotency.Foreign(ctx, "one", func(context.Context, string) (int, error) {
			beside := make(chan error)
			go func() { beside <- w.do(ctx, "foreign other") }()
			assert.ErrorIs(w, <-beside, idempotency.ErrStepMisuse)
			return 0, nil
		})
	}},
	"a step without a name": {"a step's name has 1 to 100 bytes", func(w *world, ctx context.Context) { _ = w.do(ctx, "atomic ") }},
	"a name that is too long": {"a step's name has 1 to 100 bytes", func(w *world, ctx context.Context) {
		_ = w.do(ctx, "atomic "+strings.Repeat("x", 101))
	}},
	"a name that is no text": {"a step's name has 1 to 100 bytes", func(w *world, ctx context.Context) { _ = w.do(ctx, "foreign \xff") }},
	"a result that cannot be stored": {`the result of step "one", a func()`, func(_ *world, ctx context.Context) {
		_, _ = idempotency.Atomic(ctx, "one", func(context.Context) (func(), error) { return func() {}, nil })
	}},
	"a result that is too large": {"has 1002 bytes, Config.MaxResponseBytes allows 1000", func(_ *world, ctx context.Context) {
		_, _ = idempotency.Foreign(ctx, "one", func(context.Context, string) (string, error) { return strings.Repeat("x", 1000), nil })
	}},
}

func TestAMisusedStepIsTheAnswerWhateverTheHandlerMakesOfIt(t *testing.T) {
	t.Parallel()
	for name, misuse := range misuses {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			engine := w.engine(idempotency.Config{MaxResponseBytes: 1000})
			for range 2 { // the second time from what the first has left
				_, err := engine.Run(t.Context(), request, func(ctx context.Context) (idempotency.Response, error) {
					misuse.handler(w, ctx)
					require.ErrorIs(t, w.do(ctx, "atomic later"), idempotency.ErrStepMisuse, "no later step succeeds")
					return idempotency.Response{Status: 201}, nil
				})
				require.ErrorIs(t, err, idempotency.ErrStepMisuse)
				require.ErrorContains(t, err, misuse.says)
			}
			failed := w.wantEventsLast(idempotency.Failed)
			require.ErrorIs(t, failed.Err, idempotency.ErrStepMisuse)
			require.Equal(t, 500, failed.Status)
		})
	}
}

// wantEventsLast checks the kind of the last event.
func (w *world) wantEventsLast(want idempotency.EventKind) idempotency.Event {
	w.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	last := w.events[len(w.events)-1]
	require.Equal(w, want, last.Kind)
	return last
}

func TestANameOfTheGreatestLengthIsTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.completes(w.engine(idempotency.Config{}), w.program(nil, "atomic "+strings.Repeat("x", 100)))
}

func TestAStepThatTheHandlerDidNotWaitForIsNotKept(t *testing.T) {
	t.Parallel()
	for _, panics := range []bool{false, true} {
		w := newWorld(t)
		engine := w.engine(idempotency.Config{})
		inside, leave, left := make(chan struct{}), make(chan struct{}), make(chan error)
		run := func() error {
			_, err := engine.Run(t.Context(), request, func(ctx context.Context) (idempotency.Response, error) {
				require.NoError(t, w.do(ctx, "atomic before"))
				go func() {
					_, err := idempotency.Atomic(ctx, "late", func(context.Context) (int, error) {
						close(inside)
						<-leave
						return 0, nil
					})
					left <- errors.Join(err, w.do(ctx, "atomic later"))
				}()
				<-inside
				if panics {
					panic("no")
				}
				return idempotency.Response{Status: 201}, nil
			})
			return err
		}
		if panics {
			require.Panics(t, func() { _ = run() })
		} else {
			err := run()
			require.ErrorIs(t, err, idempotency.ErrStepMisuse)
			require.ErrorContains(t, err, "wait for the goroutines that it starts")
		}
		close(leave)
		require.ErrorIs(t, <-left, idempotency.ErrStepMisuse)
		require.Equal(t, "before", w.pending().RecoveryPoint)
		w.wantDone("before")
	}
}

func TestAStepOutsideOfAHandlerIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	require.ErrorIs(t, w.do(t.Context(), "atomic one"), idempotency.ErrStepMisuse)
	for _, steps := range [][]string{nil, {"atomic one"}} {
		var kept context.Context
		program := w.program(errDown, steps...)
		_, err := w.engine(idempotency.Config{}).Run(t.Context(), request, func(ctx context.Context) (idempotency.Response, error) {
			kept = ctx
			return program(ctx)
		})
		require.Same(t, errDown, err)
		for _, late := range []string{"atomic one", "foreign late"} {
			err := w.do(kept, late)
			require.ErrorIs(t, err, idempotency.ErrStepMisuse)
			require.ErrorContains(t, err, "after the handler had returned")
		}
	}
	w.wantDone("one")
}

func TestAStepNeedsAKeyToResumeBy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.engine(idempotency.Config{}).RunWithoutKey(t.Context(), func(ctx context.Context) (idempotency.Response, error) {
		require.ErrorIs(t, w.do(ctx, "atomic one"), idempotency.ErrKeyMissing)
		require.ErrorIs(t, w.do(ctx, "foreign one"), idempotency.ErrKeyMissing)
		return idempotency.Response{Status: 201}, nil
	})
	require.ErrorIs(t, err, idempotency.ErrKeyMissing)
	w.wantDone()
}

// stepless is a store whose attempts keep no recovery points.
type stepless struct{ idempotency.Store }

func (s stepless) Claim(ctx context.Context, key idempotency.Key) (idempotency.Attempt, *idempotency.Record, error) {
	attempt, record, err := s.Store.Claim(ctx, key)
	if attempt == nil {
		return nil, record, err
	}
	return struct{ idempotency.Attempt }{attempt}, nil, nil
}

func TestAStoreWithoutRecoveryPointsRunsHandlersWithoutSteps(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := engineOn(t, stepless{w.store}, idempotency.Config{})
	_, err := engine.Run(t.Context(), request, w.program(nil, "atomic one"))
	require.ErrorIs(t, err, idempotency.ErrStepMisuse)
	require.ErrorContains(t, err, "keeps no recovery points")
	w.wantDone()
	w.completes(engine, answers("x"))
}
