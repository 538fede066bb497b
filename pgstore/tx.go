package pgstore

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/onlyonce/onlyonce/internal/keytable"
)

// ErrTxGuarded is what Commit and Rollback of the handler's transaction return. The transaction belongs to the library: it is
// committed together with the response when the handler returns.
var ErrTxGuarded = errors.New("pgstore: the transaction is committed with the response, not by the handler: " +
	"return normally to commit it, return an error or a status of 400 and above to roll it back")

// ErrNoTx is what every method of [Tx]'s result returns where there is no transaction: outside a protected handler, and after
// it has returned.
var ErrNoTx = errors.New("pgstore: no transaction in this context: call pgstore.Tx with the handler's own context, " +
	"inside a handler that the middleware or idempotency.Do protects, and before it returns")

// ErrTxCommitted is what a transaction says that was committed, or rolled back, at a recovery point.
var ErrTxCommitted = errors.New("pgstore: this transaction has ended with its step: call pgstore.Tx again")

// ErrTxForeign is what a transaction says inside a foreign call, which must hold none.
var ErrTxForeign = errors.New("pgstore: no transaction in a foreign call: read before it, and write in a step after it")

type txKey struct{}

// Tx returns the transaction of the handler that ctx belongs to. What is written by it is committed if and only if the
// response is stored. Every call in one handler returns the same transaction.
//
// It is a [pgx.Tx] whose Commit and Rollback return [ErrTxGuarded] and do nothing, so that the usual deferred Rollback is
// harmless. All the rest works: batches, COPY, large objects, and nested transactions (savepoints), which may be committed and
// rolled back. Where ctx has no transaction the result is not nil: its methods return an error, [ErrNoTx].
//
// Writes through any other connection are not part of the promise.
//
// In a handler with recovery points it is the transaction of the step that runs; and outside of a step that of the tail, which is
// committed with the response: it begins with the first call of Tx after a step, in one round trip, and takes the key's lock
// again. What an earlier call has returned says [ErrTxCommitted] by then. In a foreign call there is none: [ErrTxForeign].
func Tx(ctx context.Context) pgx.Tx {
	if a, ok := ctx.Value(txKey{}).(*attempt); ok {
		return a.current(ctx)
	}
	return noTx
}

// noTx is a transaction that was never begun, and closedTx what pgx makes of one.
var (
	noTx     = newNoTx()
	closedTx = noTx.Tx
)

func newNoTx() *guardedTx {
	batch := &pgx.Batch{}
	batch.BeginTx(pgx.TxOptions{})
	return failedTx(pgx.FailedBatchResults(batch, ErrNoTx).Tx(), ErrNoTx)
}

// failedTx returns a transaction whose every method fails by err. tx must be one that was never begun.
func failedTx(tx pgx.Tx, err error) *guardedTx {
	failed := &guardedTx{Tx: tx, guard: &guard{why: err}}
	failed.guard.over.Store(true)
	return failed
}

// note looks at what a statement of the handler returned, and at what it did to the transaction.
func (g *guard) note(tx pgx.Tx, tag pgconn.CommandTag, err error) error {
	if err != nil && isConflict(err) {
		g.conflict.Store(true)
	}
	// A ROLLBACK of a savepoint has the same tag as one of the transaction; after the latter nothing is open.
	if conn := tx.Conn(); tag.String() == keytable.CommitSQL || conn != nil && conn.PgConn().TxStatus() == 'I' && !conn.IsClosed() {
		g.ended.Store(true)
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
	if !t.enter() {
		return t.closed()
	}
	defer t.leave()
	return t.noted(t.Tx.Commit(ctx))
}

func (t *guardedTx) Rollback(ctx context.Context) error {
	if !t.nested {
		return ErrTxGuarded
	}
	if !t.enter() {
		return t.closed()
	}
	defer t.leave()
	return t.Tx.Rollback(ctx)
}

func (t *guardedTx) Begin(ctx context.Context) (pgx.Tx, error) {
	if !t.enter() {
		return nil, t.closed()
	}
	defer t.leave()
	nested, err := t.Tx.Begin(ctx)
	if err != nil {
		return nil, t.noted(err)
	}
	return &guardedTx{Tx: nested, guard: t.guard, nested: true}, nil
}

func (t *guardedTx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	if !t.enter() {
		return pgconn.CommandTag{}, t.closed()
	}
	defer t.leave()
	tag, err := t.Tx.Exec(ctx, sql, args...)
	return tag, t.note(t.Tx, tag, err)
}

func (t *guardedTx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if !t.enter() {
		return noRows(t.closed()), t.closed()
	}
	defer t.leave()
	rows, err := t.Tx.Query(ctx, sql, args...)
	return &notedRows{rows, t}, t.noted(err)
}

func (t *guardedTx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	if !t.enter() {
		return failedRow{t.closed()}
	}
	defer t.leave()
	return &notedRow{t.Tx.QueryRow(ctx, sql, args...), t}
}

func (t *guardedTx) Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error) {
	if !t.enter() {
		return nil, t.closed()
	}
	defer t.leave()
	description, err := t.Tx.Prepare(ctx, name, sql)
	return description, t.noted(err)
}

func (t *guardedTx) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error) {
	if !t.enter() {
		return 0, t.closed()
	}
	defer t.leave()
	n, err := t.Tx.CopyFrom(ctx, table, columns, rows)
	return n, t.noted(err)
}

func (t *guardedTx) SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults {
	if !t.enter() {
		return pgx.FailedBatchResults(batch, t.closed())
	}
	defer t.leave()
	return &notedBatch{t.Tx.SendBatch(ctx, batch), t}
}

func (t *guardedTx) LargeObjects() pgx.LargeObjects {
	if !t.enter() {
		return closedTx.LargeObjects()
	}
	defer t.leave()
	t.largeObjects.Store(true)
	return t.Tx.LargeObjects()
}

// Conn returns the connection, or nil once the handler has returned. What is done by it is not looked at, and a copy that is
// kept is another request's connection later: use the transaction's own methods.
func (t *guardedTx) Conn() *pgx.Conn {
	if t.over.Load() {
		return nil
	}
	t.used.Store(true)
	t.connection.Store(true)
	return t.Tx.Conn()
}

// noted is note for what has no tag.
func (t *guardedTx) noted(err error) error { return t.note(t.Tx, pgconn.CommandTag{}, err) }
