package httpcontract

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

// staged is a store that tells at each stage of a request that the request has come there.
type staged struct {
	idempotency.Store
	at func(stage string)
}

func (s staged) Claim(ctx context.Context, key idempotency.Key) (idempotency.Attempt, *idempotency.Record, error) {
	s.at("claim")
	a, record, err := s.Store.Claim(ctx, key)
	if a != nil {
		a = stagedAttempt{a, s.at}
	}
	return a, record, err
}

func (s staged) Lookup(ctx context.Context, key idempotency.Key) (*idempotency.Record, error) {
	s.at("lookup")
	return s.Store.Lookup(ctx, key)
}

func (s staged) Begin(ctx context.Context) (idempotency.Attempt, error) {
	s.at("begin")
	return s.Store.Begin(ctx)
}

type stagedAttempt struct {
	idempotency.Attempt
	at func(stage string)
}

func (a stagedAttempt) Complete(ctx context.Context, record *idempotency.Record, retention time.Duration) (idempotency.Settled, error) {
	a.at("commit")
	settled, err := a.Attempt.Complete(ctx, record, retention)
	a.at("committed")
	return settled, err
}

// staging returns the world with a store that tells at about its stages.
func (w *world) staging(at func(stage string)) *world {
	staging := *w
	staging.store = staged{w.store, at}
	return &staging
}

// visits counts the requests that are inside of a handler.
type visits struct{ inside sync.WaitGroup }

func (v *visits) count(next http.Handler) http.Handler {
	return http.HandlerFunc(func(writer http.ResponseWriter, r *http.Request) {
		v.inside.Add(1)
		defer v.inside.Done()
		next.ServeHTTP(writer, r)
	})
}

// leavesNothingBehind checks that nobody is inside any more, and that no connection, transaction or lock is held.
func (w *world) leavesNothingBehind(v *visits) {
	w.Helper()
	over := make(chan struct{})
	go func() {
		defer close(over)
		v.inside.Wait()
	}()
	within(w, over)
	if w.pool == nil {
		return
	}
	require.Eventually(w, func() bool {
		var held int
		err := w.pool.QueryRow(context.WithoutCancel(w.Context()), `SELECT count(*) FROM pg_stat_activity a
			WHERE application_name = current_setting('application_name') AND pid <> pg_backend_pid()
			AND (state <> 'idle' OR EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.locktype = 'advisory'))`).Scan(&held)
		return err == nil && held == 0 && w.pool.Stat().AcquiredConns() == 0
	}, patience, 5*time.Millisecond, "a connection, a transaction or a lock is still held")
}
