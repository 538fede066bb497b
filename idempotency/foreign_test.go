package idempotency_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

func TestAForeignCallGetsItsOwnKeyOnEveryAttempt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := w.engine(idempotency.Config{})
	for range 3 {
		_, err := engine.Run(t.Context(), request, func(ctx context.Context) (idempotency.Response, error) {
			_, err := idempotency.Foreign(ctx, "card", func(_ context.Context, key string) (int, error) {
				require.Equal(t, idempotency.ForeignKey(request.Key, "card"), key)
				return 0, errDown
			})
			return idempotency.Response{}, err
		})
		require.Same(t, errDown, err)
	}
}

func TestAForeignCallHoldsTheKeyByItsLeaseAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine, peer := w.engine(idempotency.Config{Lease: time.Minute}), w.engine(idempotency.Config{})
	w.completes(engine, func(ctx context.Context) (idempotency.Response, error) {
		_, err := idempotency.Foreign(ctx, "card", func(context.Context, string) (int, error) {
			_, err := peer.Run(t.Context(), request, never(t))
			require.ErrorIs(t, err, idempotency.ErrInProgress)
			w.wantNothingPending()
			w.pass(time.Minute)
			w.pending()
			return 0, nil
		})
		return idempotency.Response{Status: 201}, err
	})
}

func TestTheLeaseIsRenewedAsLongAsAForeignCallRuns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := memory(t) // whose clock is the bubble's
		engine, peer := engineOn(t, store, idempotency.Config{Lease: time.Second}), engineOn(t, store, idempotency.Config{})
		result, err := engine.Run(t.Context(), request, func(ctx context.Context) (idempotency.Response, error) {
			_, err := idempotency.Foreign(ctx, "card", func(context.Context, string) (int, error) {
				for range 20 {
					<-time.After(999 * time.Millisecond)
					_, err := peer.Run(t.Context(), request, never(t))
					require.ErrorIs(t, err, idempotency.ErrInProgress)
				}
				return 0, nil
			})
			return idempotency.Response{Status: 201}, err
		})
		require.NoError(t, err)
		require.False(t, result.Replayed)
	})
}

func TestTheLeaseIsNotRenewedBeyondTheHandlersTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := memory(t)
		config := idempotency.Config{Lease: time.Second, HandlerTimeout: 5 * time.Second}
		engine, peer := engineOn(t, store, config), engineOn(t, store, idempotency.Config{})
		_, err := engine.Run(t.Context(), request, func(ctx context.Context) (idempotency.Response, error) {
			_, err := idempotency.Foreign(ctx, "card", func(ctx context.Context, _ string) (int, error) {
				<-time.After(7 * time.Second) // without a look at ctx
				require.ErrorIs(t, ctx.Err(), context.DeadlineExceeded)
				result, err := peer.Run(t.Context(), request, answersAfter("card", 2))
				require.NoError(t, err)
				require.False(t, result.Replayed)
				return 1, nil
			})
			return idempotency.Response{Status: 201}, err
		})
		require.ErrorIs(t, err, idempotency.ErrLeaseLost, "the other attempt's result is the one that counts")
	})
}

// answersAfter is a handler of one foreign call.
func answersAfter(point string, value int) idempotency.Handler {
	return func(ctx context.Context) (idempotency.Response, error) {
		_, err := idempotency.Foreign(ctx, point, func(context.Context, string) (int, error) { return value, nil })
		return idempotency.Response{Status: 201, Body: []byte("taken over")}, err
	}
}

func TestAForeignCallEndsWhenItsLeaseIsLost(t *testing.T) {
	t.Parallel()
	for _, gone := range []struct {
		name string
		err  func(ctx context.Context) error
	}{
		{"and says why", context.Cause},
		{"and says that its context has ended", context.Context.Err},
		{"and says nothing", func(context.Context) error { return nil }},
	} {
		t.Run(gone.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				engine := w.engine(idempotency.Config{Lease: 3 * time.Second})
				var both sync.WaitGroup
				both.Go(func() {
					_, err := engine.Run(t.Context(), request, func(ctx context.Context) (idempotency.Response, error) {
						_, err := idempotency.Foreign(ctx, "card", func(ctx context.Context, _ string) (int, error) {
							<-ctx.Done()
							assert.ErrorIs(t, context.Cause(ctx), idempotency.ErrLeaseLost)
							return 1, gone.err(ctx)
						})
						assert.ErrorIs(t, err, idempotency.ErrLeaseLost)
						assert.ErrorIs(t, w.do(ctx, "atomic later"), idempotency.ErrLeaseLost)
						return idempotency.Response{Status: 201}, nil
					})
					assert.ErrorIs(t, err, idempotency.ErrLeaseLost)
				})
				synctest.Wait() // in the call
				w.pass(3 * time.Second)
				result, err := engineOn(t, w.store, idempotency.Config{}).Run(t.Context(), request, answersAfter("card", 2))
				require.NoError(t, err)
				require.Equal(t, "taken over", string(result.Response.Body))
				both.Wait()
				w.wantDone()
				w.wantEvents(idempotency.Claimed, idempotency.Failed)
				result, err = engine.Run(t.Context(), request, never(t))
				require.NoError(t, err)
				require.Equal(t, "taken over", string(result.Response.Body))
			})
		})
	}
}

func TestAnOwnerThatLostItsKeyAtItsEndAnswersWithTheRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine, peer := w.engine(idempotency.Config{}), w.engine(idempotency.Config{})
	result, err := engine.Run(t.Context(), request, func(ctx context.Context) (idempotency.Response, error) {
		require.NoError(t, w.do(ctx, "atomic one"))
		w.pass(time.Hour)
		_, err := peer.Run(context.WithoutCancel(t.Context()), request, w.program(nil, "atomic one"))
		require.NoError(t, err)
		return idempotency.Response{Status: 201, Body: []byte("too late")}, nil
	})
	require.NoError(t, err)
	require.True(t, result.Replayed)
	require.Equal(t, "done", string(result.Response.Body))
}

func TestAForeignEffectIsLookedUpWhereItMayBeThere(t *testing.T) {
	t.Parallel()
	type look struct {
		found bool
		err   error
	}
	for _, c := range []struct {
		name string
		// looks is what a look finds on each attempt, fails whether the call fails if it is made.
		looks []look
		fails []bool
		want  []string
	}{
		{"the first attempt does not look", []look{{}}, []bool{false}, []string{"call"}},
		{"a later one does, and finds it", []look{{}, {found: true}}, []bool{true, false}, []string{"call", "look"}},
		{"a later one does, and does not find it", []look{{}, {}}, []bool{true, false}, []string{"call", "look", "call"}},
		{"a look that cannot say ends the attempt", []look{{}, {err: errDown}, {found: true}}, []bool{true, false, false}, []string{"call", "look", "look"}},
		{"what is found with an error does not count", []look{{}, {true, errDown}, {}}, []bool{true, false, false}, []string{"call", "look", "look", "call"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			engine := w.engine(idempotency.Config{})
			for i := range c.looks {
				result, err := engine.Run(t.Context(), request, func(ctx context.Context) (idempotency.Response, error) {
					_, err := idempotency.ForeignReconciled(ctx, "card",
						func(_ context.Context, key string) (string, bool, error) {
							w.did("look")
							require.Equal(t, idempotency.ForeignKey(request.Key, "card"), key)
							return "found", c.looks[i].found, c.looks[i].err
						},
						func(context.Context, string) (string, error) {
							w.did("call")
							if c.fails[i] {
								return "", errDown
							}
							return "called", nil
						})
					return idempotency.Response{Status: 201}, err
				})
				if last := i == len(c.looks)-1; !last {
					require.Same(t, errDown, err)
				} else {
					require.NoError(t, err)
					require.Equal(t, 201, result.Response.Status)
				}
			}
			w.wantDone(c.want...)
			w.wantNothingPending()
		})
	}
}

func TestAForeignCallThatIsTriedAgainInOneRunIsLookedUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	charge := func(ctx context.Context, point string, err error) error {
		_, err = idempotency.ForeignReconciled(ctx, point,
			func(context.Context, string) (int, bool, error) { w.did("look " + point); return 0, false, nil },
			func(context.Context, string) (int, error) { w.did("call " + point); return 0, err })
		return err
	}
	w.completes(w.engine(idempotency.Config{}), func(ctx context.Context) (idempotency.Response, error) {
		require.Same(t, errDown, charge(ctx, "a", errDown))
		require.NoError(t, charge(ctx, "a", nil))
		return idempotency.Response{Status: 201}, charge(ctx, "b", nil)
	})
	w.wantDone("call a", "look a", "call a", "call b")
}

// mortal is a store whose process can be killed: nothing reaches the data any more, and nothing that was reached is undone.
type mortal struct {
	idempotency.Store
	dead atomic.Bool
}

type mortalChain struct {
	idempotency.Chain
	*mortal
}

func (m *mortal) Claim(ctx context.Context, key idempotency.Key) (idempotency.Attempt, *idempotency.Record, error) {
	attempt, record, err := m.Store.Claim(ctx, key)
	if attempt == nil {
		return nil, record, err
	}
	return mortalChain{attempt.(idempotency.Chain), m}, nil, nil
}

func (c mortalChain) Save(ctx context.Context, p idempotency.Progress, lease time.Duration) error {
	if c.dead.Load() {
		return idempotency.ErrStoreUnavailable
	}
	return c.Chain.Save(ctx, p, lease)
}

func (c mortalChain) Yield(ctx context.Context, p idempotency.Progress) error {
	if c.dead.Load() {
		return idempotency.ErrStoreUnavailable
	}
	return c.Chain.Yield(ctx, p)
}

func TestAForeignCallThatACrashCutOffIsMadeAgainWithItsKeyOrLookedUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	charged := map[string]int{}
	handler := func(crash func()) idempotency.Handler {
		return func(ctx context.Context) (idempotency.Response, error) {
			_, err := idempotency.Foreign(ctx, "card", func(_ context.Context, key string) (int, error) {
				w.did("card")
				charged[key] = 100
				return 100, nil
			})
			if err != nil {
				return idempotency.Response{}, err
			}
			_, err = idempotency.ForeignReconciled(ctx, "transfer",
				func(_ context.Context, key string) (int, bool, error) {
					w.did("look")
					amount, found := charged[key]
					return amount, found, nil
				},
				func(_ context.Context, key string) (int, error) {
					w.did("transfer")
					charged[key] = 90
					crash()
					return 90, nil
				})
			return idempotency.Response{Status: 201}, err
		}
	}
	dying := &mortal{Store: w.store}
	_, err := engineOn(t, dying, idempotency.Config{Lease: time.Minute}).Run(t.Context(), request, handler(func() { dying.dead.Store(true) }))
	require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)

	survivor := w.engine(idempotency.Config{})
	_, err = survivor.Run(t.Context(), request, never(t))
	require.ErrorIs(t, err, idempotency.ErrInProgress, "nobody knows yet that the owner is dead")
	w.pass(time.Minute)
	w.completes(survivor, handler(func() { t.Error("transferred twice") }))
	w.wantDone("card", "transfer", "look")
	require.Len(t, charged, 2)
}
