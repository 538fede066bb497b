package idempotency_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/memstore"
)

var errDown = errors.New("the card network is down")

// world is a store whose clock is moved by hand, and what was done and reported on it.
type world struct {
	*testing.T
	store *memstore.Store
	ahead atomic.Int64

	mu     sync.Mutex
	done   []string
	events []idempotency.Event
}

func newWorld(t *testing.T) *world {
	w := &world{T: t}
	store, err := memstore.New(memstore.Config{Now: func() time.Time { return time.Unix(1_700_000_000, w.ahead.Load()) }})
	require.NoError(t, err)
	w.store = store
	return w
}

func (w *world) pass(d time.Duration) { w.ahead.Add(int64(d)) }

func (w *world) engine(config idempotency.Config) *idempotency.Engine {
	config.Observer = func(_ context.Context, e idempotency.Event) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.events = append(w.events, e)
	}
	return engineOn(w.T, w.store, config)
}

func (w *world) did(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done = append(w.done, what)
}

// wantDone checks what was done since it was asked last.
func (w *world) wantDone(want ...string) {
	w.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	require.Equal(w, strings.Join(want, ", "), strings.Join(w.done, ", "))
	w.done = nil
}

// wantEvents checks the kinds of events since they were asked for last, and returns the last event.
func (w *world) wantEvents(want ...idempotency.EventKind) idempotency.Event {
	w.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	var kinds []idempotency.EventKind
	for _, e := range w.events {
		kinds = append(kinds, e.Kind)
	}
	require.Equal(w, want, kinds)
	last := w.events[len(w.events)-1]
	w.events = nil
	return last
}

// do does one step, written "atomic name" or "foreign name", whose result is its name.
func (w *world) do(ctx context.Context, step string) error {
	kind, name, _ := strings.Cut(step, " ")
	var got string
	var err error
	if kind == "atomic" {
		got, err = idempotency.Atomic(ctx, name, func(context.Context) (string, error) { w.did(name); return name, nil })
	} else {
		got, err = idempotency.Foreign(ctx, name, func(context.Context, string) (string, error) { w.did(name); return name, nil })
	}
	if err == nil {
		require.Equal(w, name, got)
	}
	return err
}

// program is a handler that does these steps, and then returns.
func (w *world) program(end error, steps ...string) idempotency.Handler {
	return func(ctx context.Context) (idempotency.Response, error) {
		for _, step := range steps {
			if err := w.do(ctx, step); err != nil {
				return idempotency.Response{}, err
			}
		}
		return idempotency.Response{Status: 201, Body: []byte("done")}, end
	}
}

// pending returns the one key that is pending and not leased.
func (w *world) pending() idempotency.Pending {
	w.Helper()
	found, err := w.store.Pending(w.Context(), idempotency.Due{Limit: 10, MaxCompletions: 1 << 20})
	require.NoError(w, err)
	require.Len(w, found.Keys, 1)
	return found.Keys[0]
}

func (w *world) wantNothingPending() {
	w.Helper()
	found, err := w.store.Pending(w.Context(), idempotency.Due{Limit: 10, MaxCompletions: 1 << 20})
	require.NoError(w, err)
	require.Empty(w, found)
}

// completes runs request to its end.
func (w *world) completes(engine *idempotency.Engine, handler idempotency.Handler) {
	w.Helper()
	result, err := engine.Run(w.Context(), request, handler)
	require.NoError(w, err)
	require.False(w, result.Replayed)
	result, err = engine.Run(w.Context(), request, never(w.T))
	require.NoError(w, err)
	require.True(w, result.Replayed)
	w.wantNothingPending()
}
