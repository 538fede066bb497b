package pgstore_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/internal/wireproxy"
	"github.com/onlyonce/onlyonce/pgstore"
)

// A client that asks again while a card is charged must not cost the charge's owner the key, wherever the process stops that it asks.
func TestADuplicateThatOnlyLooksTakesNoPendingKeyFromItsOwner(t *testing.T) {
	t.Parallel()
	for _, lock := range locks {
		t.Run(string(lock), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, by(lock), func(c *idempotency.Config, _ *pgstore.Config, _ *pgxpool.Config) { c.Lease = 20 * time.Second })
			proxy, peer := w.proxied("", by(lock))
			looked := make(chan error)
			var stopped *wireproxy.Point
			_, err := w.chain(func(ctx context.Context) (idempotency.Response, error) {
				_, err := idempotency.Foreign(ctx, "card", func(ctx context.Context, _ string) (int, error) {
					stopped = proxy.At(func(s wireproxy.Statement) bool { return strings.EqualFold(s.SQL, "rollback") }, wireproxy.Stop)
					go func() {
						_, err := peer.Run(t.Context(), w.request(), func(context.Context) (idempotency.Response, error) {
							t.Error("the handler of a duplicate ran")
							return idempotency.Response{}, nil
						})
						looked <- err
					}()
					<-stopped.Reached() // it has seen what is there, and is in its transaction yet
					return 1, nil
				})
				stopped.Resume()
				return idempotency.Response{Status: 201}, err
			})
			require.ErrorIs(t, <-looked, idempotency.ErrInProgress)
			require.NoError(t, err)
			require.Equal(t, 1, w.count(`SELECT count(*) FROM idempotency_keys WHERE state = 'completed'`))
		})
	}
}

// The transaction that keeps a foreign effect is still about to be committed when it is sent again.
func TestARecoveryPointWhoseReplyIsLateIsNotTakenForAnotherAttempts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	proxy, engine := w.proxied("", by(pgstore.InsertClaim))
	commits := make(chan *wireproxy.Point, 1)
	done := make(chan error)
	go func() {
		_, err := engine.Run(t.Context(), w.request(), func(ctx context.Context) (idempotency.Response, error) {
			_, err := idempotency.Foreign(ctx, "card", func(ctx context.Context, _ string) (int, error) {
				commits <- proxy.At(wireproxy.Statement.Commits, wireproxy.Orphan)
				return 1, nil
			})
			return idempotency.Response{Status: 201}, err
		})
		done <- err
	}()
	commit := <-commits
	<-commit.Reached()
	inVain := proxy.At(func(s wireproxy.Statement) bool { return strings.EqualFold(s.SQL, "rollback") }, wireproxy.Stop)
	<-inVain.Reached() // it has waited for the row for as long as it may
	inVain.Resume()
	again := proxy.At(func(s wireproxy.Statement) bool { return strings.HasPrefix(s.SQL, "UPDATE") }, wireproxy.Stop)
	select {
	case <-again.Reached():
		again.Resume()
		commit.Resume()
		require.NoError(t, <-done)
	case err := <-done:
		commit.Resume()
		t.Fatal(err)
	}
}

// A statement that waits for somebody else's lock has not found another attempt.
func TestARowThatSomebodyElseLocksIsNoAttempt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, by(pgstore.ShardLock), func(_ *idempotency.Config, _ *pgstore.Config, c *pgxpool.Config) {
		c.ConnConfig.RuntimeParams["lock_timeout"] = "20ms"
	})
	operator := pgtest.Pool(t, w.schema)
	var tx pgx.Tx
	_, err := w.chain(func(ctx context.Context) (idempotency.Response, error) {
		_, err := idempotency.Foreign(ctx, "card", func(context.Context, string) (int, error) {
			var err error
			if tx, err = operator.Begin(t.Context()); err == nil {
				_, err = tx.Exec(t.Context(), `SELECT FROM idempotency_keys FOR UPDATE`)
			}
			return 1, err
		})
		return idempotency.Response{Status: 201}, err
	})
	require.NoError(t, tx.Rollback(t.Context()))
	require.NotErrorIs(t, err, idempotency.ErrLeaseLost)
	require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
}
