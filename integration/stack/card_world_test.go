package stack

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/pgtest"

	example "github.com/onlyonce/onlyonce/examples/payments/server"
)

// newCardWorld makes a schema with the tables of the payments example, and its demo accounts.
func newCardWorld(t *testing.T) (w *world, schema string) {
	t.Helper()
	schema = pgtest.EmptySchema(t)
	w = &world{url: pgtest.SchemaURL(t, schema), pool: pgtest.Pool(t, schema, few)}
	require.NoError(t, example.MigrateDatabase(deadline(t), w.url, slog.New(slog.DiscardHandler)))
	require.NoError(t, example.SeedDatabase(deadline(t), w.pool))
	return w, schema
}

// books are what the example's tables say of card payments.
type books struct {
	Payments, Captured, Entries, Receipts int
	Keys, Pending                         int // all of them, and those that are not completed
	Sum                                   int64
	Wrong                                 int // accounts that do not hold the sum of their entries
}

var (
	bookedOnce   = books{Payments: 1, Captured: 1, Entries: 2, Receipts: 1, Keys: 1}
	bookedNever  = books{}
	booksOfCards = `SELECT (SELECT count(*) FROM card_payments), (SELECT count(*) FROM card_payments WHERE status = 'captured'),
	(SELECT count(*) FROM ledger_entries WHERE card_payment_id IS NOT NULL), (SELECT count(*) FROM receipts),
	(SELECT count(*) FROM idempotency_keys), (SELECT count(*) FROM idempotency_keys WHERE state <> 'completed'),
	(SELECT sum(amount)::bigint FROM ledger_entries),
	(SELECT count(*) FROM accounts a WHERE balance <> (SELECT sum(amount) FROM ledger_entries e WHERE e.account_id = a.id))`
)

func (w *world) books(t *testing.T) books {
	t.Helper()
	var b books
	require.NoError(t, w.pool.QueryRow(deadline(t), booksOfCards).Scan(
		&b.Payments, &b.Captured, &b.Entries, &b.Receipts, &b.Keys, &b.Pending, &b.Sum, &b.Wrong))
	return b
}

// snapshot is every row that a card payment writes. Left out is what changes by itself: a lease that is renewed, a receipt that is
// delivered.
func (w *world) snapshot(t *testing.T) (rows string) {
	t.Helper()
	require.NoError(t, w.pool.QueryRow(deadline(t), `SELECT string_agg(line, E'\n' ORDER BY line) FROM (
		SELECT 'account ' || to_jsonb(a)::text FROM accounts a
		UNION ALL SELECT 'payment ' || to_jsonb(p)::text FROM card_payments p
		UNION ALL SELECT 'entry ' || to_jsonb(e)::text FROM ledger_entries e
		UNION ALL SELECT 'receipt ' || (to_jsonb(r) - 'delivered_at')::text FROM receipts r
		UNION ALL SELECT 'key ' || (to_jsonb(k) - 'leased_until')::text FROM idempotency_keys k) all_rows (line)`).Scan(&rows))
	return rows
}
