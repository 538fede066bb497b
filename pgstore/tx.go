package pgstore

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ErrTxGuarded is what Commit and Rollback of the handler's transaction return. The transaction belongs to the library: it is
// committed together with the response when the handler returns.
var ErrTxGuarded = errors.New("pgstore: the transaction is committed with the response, not by the handler: " +
	"return normally to commit it, return an error or a status of 400 and above to roll it back")

// ErrNoTx is what every method of [Tx]'s result returns where there is no transaction: outside a protected handler, and after
// it has returned.
var ErrNoTx = errors.New("pgstore: no transaction in this context: call pgstore.Tx with the handler's own context, " +
	"inside a handler that the middleware or idempotency.Do protects, and before it returns")

type txKey struct{}

// Tx returns the transaction of the handler that ctx belongs to. What is written by it is committed if and only if the
// response is stored. Every call in one handler returns the same transaction.
//
// It is a [pgx.Tx] whose Commit and Rollback return [ErrTxGuarded] and do nothing, so that the usual deferred Rollback is
// harmless. All the rest works: batches, COPY, large objects, and nested transactions (savepoints), which may be committed and
// rolled back. Where ctx has no transaction the result is not nil: its methods return an error, [ErrNoTx].
//
// Writes through any other connection are not part of the promise.
func Tx(ctx context.Context) pgx.Tx {
	if tx, ok := ctx.Value(txKey{}).(*guardedTx); ok {
		return tx
	}
	return noTx
}

// noTx is a transaction that was never begun.
var noTx = func() pgx.Tx {
	batch := &pgx.Batch{}
	batch.BeginTx(pgx.TxOptions{})
	tx := &guardedTx{guard: &guard{}}
	tx.Tx = pgx.FailedBatchResults(batch, ErrNoTx).Tx()
	tx.guard.over.Store(true)
	return tx
}()

// guard is what a handler's transaction and the savepoints inside it share.
type guard struct {
	over         atomic.Bool // the handler has returned: the connection may be somebody else's
	conflict     atomic.Bool // a statement failed by 40001 or 40P01
	largeObjects atomic.Bool // handed out, and they know the connection
}

// note looks at what a statement of the handler returned.
func (g *guard) note(err error) error {
	if err != nil && isConflict(err) {
		g.conflict.Store(true)
	}
	return err
}

// isConflict reports whether the database ended a transaction because of another one: serialization failure, or deadlock.
func isConflict(err error) bool {
	var server *pgconn.PgError
	return errors.As(err, &server) && (server.Code == "40001" || server.Code == "40P01")
}

// guardedTx is pgx's transaction without the right to end it.
type guardedTx struct {
	pgx.Tx
	*guard
	nested bool
}

func (t *guardedTx) Commit(ctx context.Context) error {
	if !t.nested {
		return ErrTxGuarded
	}
	if t.over.Load() {
		return ErrNoTx
	}
	return t.note(t.Tx.Commit(ctx))
}

func (t *guardedTx) Rollback(ctx context.Context) error {
	if !t.nested {
		return ErrTxGuarded
	}
	if t.over.Load() {
		return ErrNoTx
	}
	return t.Tx.Rollback(ctx)
}

func (t *guardedTx) Begin(ctx context.Context) (pgx.Tx, error) {
	if t.over.Load() {
		return nil, ErrNoTx
	}
	nested, err := t.Tx.Begin(ctx)
	if err != nil {
		return nil, t.note(err)
	}
	return &guardedTx{Tx: nested, guard: t.guard, nested: true}, nil
}

func (t *guardedTx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	if t.over.Load() {
		return pgconn.CommandTag{}, ErrNoTx
	}
	tag, err := t.Tx.Exec(ctx, sql, args...)
	return tag, t.note(err)
}

func (t *guardedTx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if t.over.Load() {
		return noRows(ErrNoTx), ErrNoTx
	}
	rows, err := t.Tx.Query(ctx, sql, args...)
	return &notedRows{rows, t.guard}, t.note(err)
}

func (t *guardedTx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	if t.over.Load() {
		return failedRow{ErrNoTx}
	}
	return &notedRow{t.Tx.QueryRow(ctx, sql, args...), t.guard}
}

func (t *guardedTx) Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error) {
	if t.over.Load() {
		return nil, ErrNoTx
	}
	description, err := t.Tx.Prepare(ctx, name, sql)
	return description, t.note(err)
}

func (t *guardedTx) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error) {
	if t.over.Load() {
		return 0, ErrNoTx
	}
	n, err := t.Tx.CopyFrom(ctx, table, columns, rows)
	return n, t.note(err)
}

func (t *guardedTx) SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults {
	if t.over.Load() {
		return pgx.FailedBatchResults(batch, ErrNoTx)
	}
	return &notedBatch{t.Tx.SendBatch(ctx, batch), t.guard}
}

func (t *guardedTx) LargeObjects() pgx.LargeObjects {
	t.largeObjects.Store(true)
	return t.Tx.LargeObjects()
}
