package torture

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/onlyonce/onlyonce/integration/history"
	"github.com/onlyonce/onlyonce/integration/torture/protocol"
)

// snapshot reads what the database holds.
func (b *base) snapshot(ctx context.Context) (all history.Snapshot, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return all, errors.Join(
		rows(ctx, b, &all.Payments, "SELECT id, key, attempt, nonce, account, amount FROM payments ORDER BY id"),
		rows(ctx, b, &all.Entries, "SELECT payment, key, account, amount FROM entries ORDER BY payment, amount"),
		rows(ctx, b, &all.Steps, "SELECT step, key, attempt, amount, charge FROM steps ORDER BY key, step"),
		rows(ctx, b, &all.Accounts, "SELECT name, opening, available FROM accounts ORDER BY name"),
		b.records(ctx, &all.Records),
	)
}

func rows[T any](ctx context.Context, b *base, into *[]T, query string) error {
	found, err := b.pool.Query(ctx, query)
	if err != nil {
		return err
	}
	*into, err = pgx.CollectRows(found, pgx.RowToStructByPos[T])
	return err
}

func (b *base) records(ctx context.Context, into *[]history.Record) error {
	found, err := b.pool.Query(ctx, `SELECT key, state, coalesce(status, 0), body, attempt, coalesce(last_error, '') FROM idempotency_keys ORDER BY key`)
	if err != nil {
		return err
	}
	*into, err = pgx.CollectRows(found, func(row pgx.CollectableRow) (r history.Record, err error) {
		var body []byte
		err = row.Scan(&r.Key, &r.State, &r.Status, &body, &r.Attempts, &r.Error)
		hash := sha256.Sum256(body)
		r.Hash = hex.EncodeToString(hash[:])
		var answer protocol.Receipt
		if json.Unmarshal(body, &answer) == nil {
			r.By = answer.Attempt
		}
		return r, err
	})
	return err
}
