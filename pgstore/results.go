package pgstore

import (
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// The results of the handler's statements. They are looked at for serialization failures and deadlocks, since the handler may
// swallow such an error, or answer 500 because of it, and the engine has to know that running it again can help. And they
// are read from the connection, so that they are behind the guard like the transaction itself.

type notedRow struct {
	pgx.Row
	tx *guardedTx
}

func (r *notedRow) Scan(dest ...any) error {
	if !r.tx.enter() {
		return r.tx.closed()
	}
	defer r.tx.leave()
	return r.tx.noted(r.Row.Scan(dest...))
}

type failedRow struct{ err error }

func (r failedRow) Scan(...any) error { return r.err }

type notedRows struct {
	pgx.Rows
	tx *guardedTx
}

func (r *notedRows) Conn() *pgx.Conn { return r.tx.Conn() }

func (r *notedRows) Next() bool {
	if !r.tx.enter() {
		return false
	}
	defer r.tx.leave()
	next := r.Rows.Next()
	if !next {
		_ = r.tx.noted(r.Rows.Err())
	}
	return next
}

func (r *notedRows) Scan(dest ...any) error {
	if !r.tx.enter() {
		return r.tx.closed()
	}
	defer r.tx.leave()
	return r.Rows.Scan(dest...)
}

func (r *notedRows) Values() ([]any, error) {
	if !r.tx.enter() {
		return nil, r.tx.closed()
	}
	defer r.tx.leave()
	return r.Rows.Values()
}

func (r *notedRows) Close() {
	if !r.tx.enter() {
		return
	}
	defer r.tx.leave()
	r.Rows.Close()
	_ = r.tx.noted(r.Rows.Err())
}

// noRows returns rows that are closed by err.
func noRows(err error) pgx.Rows {
	rows, _ := pgx.FailedBatchResults(&pgx.Batch{}, err).Query()
	return rows
}

type notedBatch struct {
	pgx.BatchResults
	tx *guardedTx
}

func (b *notedBatch) Exec() (pgconn.CommandTag, error) {
	if !b.tx.enter() {
		return pgconn.CommandTag{}, b.tx.closed()
	}
	defer b.tx.leave()
	tag, err := b.BatchResults.Exec()
	return tag, b.tx.note(b.tx.Tx, tag, err)
}

func (b *notedBatch) Query() (pgx.Rows, error) {
	if !b.tx.enter() {
		return noRows(b.tx.closed()), b.tx.closed()
	}
	defer b.tx.leave()
	rows, err := b.BatchResults.Query()
	return &notedRows{rows, b.tx}, b.tx.noted(err)
}

func (b *notedBatch) QueryRow() pgx.Row {
	if !b.tx.enter() {
		return failedRow{b.tx.closed()}
	}
	defer b.tx.leave()
	return &notedRow{b.BatchResults.QueryRow(), b.tx}
}

func (b *notedBatch) Close() error {
	if !b.tx.enter() {
		return b.tx.closed()
	}
	defer b.tx.leave()
	return b.tx.noted(b.BatchResults.Close())
}
