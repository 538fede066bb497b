package server_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
)

// panicker makes the handler panic in the middle of a payment, once the account is debited: pgx calls it in the handler's
// goroutine.
type panicker struct{ armed atomic.Bool }

func (p *panicker) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

func (p *panicker) TraceQueryEnd(_ context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	if data.CommandTag.Update() && data.CommandTag.RowsAffected() == 1 && p.armed.CompareAndSwap(true, false) {
		panic("secret value of the panic")
	}
}

func TestAPanicReachesNobodyAndTheRetryPaysOnce(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell string) {
		trap := &panicker{}
		s := start(t, shell, func(o *options) {
			o.configure = func(pool *pgxpool.Config) { pool.ConnConfig.Tracer = trap }
		})
		trap.armed.Store(true)
		broken := s.pay(alice, "k-1", oneDollar)
		require.False(t, trap.armed.Load(), "the panic happened")
		require.Equal(t, 500, broken.status)
		require.Equal(t, "internal", broken.code(t))
		require.Equal(t, "application/problem+json", broken.header.Get("Content-Type"))
		require.NotContains(t, broken.body, "secret")
		require.Contains(t, s.logs.String(), "a handler panicked")
		require.NotContains(t, s.logs.String(), "secret value")
		require.Contains(t, s.logs.String(), "ledger.Pay", "the stack is that of the panic")
		s.requireBooks(0)

		retry := s.pay(alice, "k-1", oneDollar)
		require.Equal(t, 201, retry.status, retry.body)
		require.Empty(t, retry.header.Get("Idempotent-Replayed"))
		s.requireBooks(1)
	})
}

func TestLogsHoldNoKeyNoTokenAndNothingOfABody(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell string) {
		s := start(t, shell)
		const body = `{"amount":7654321,"currency":"USD","reference":"private words"}`
		s.pay(alice, "the-secret-key", body)
		s.pay(alice, "the-secret-key", body)
		s.pay(alice, "the-secret-key", oneDollar)
		s.pay("demo_unknown", "the-secret-key", body)
		s.pay(alice, "not a key", body)
		s.get(alice, "/api/v1/payments?cursor=private-cursor")
		// A database that fails with the request's own words in its message.
		_, err := s.db.Exec(t.Context(), `ALTER TABLE payments ADD CONSTRAINT no_words CHECK (reference <> 'private words')`)
		require.NoError(t, err)
		failed := s.pay(alice, "the-secret-key-2", strings.Replace(body, "7654321", "76", 1))
		require.Equal(t, 500, failed.status, failed.body)
		require.NotContains(t, failed.body, "no_words")

		logs := s.logs.String()
		require.Contains(t, logs, "status=402")
		require.Contains(t, logs, "replayed=true")
		require.Contains(t, logs, "SQLSTATE 23514")
		for _, private := range []string{"the-secret-key", "not a key", "demo_", "7654321", "private", "Bearer", "no_words"} {
			require.NotContains(t, logs, private)
		}
	})
}
