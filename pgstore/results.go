package pgstore

import (
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// The results of the handler's statements, looked at for serialization failures and deadlocks: the handler may swallow
// such an error, or answer 500 because of it, and the engine has to know that running it again can help.

type notedRow struct {
	pgx.Row
	guard *guard
}

func (r *notedRow) Scan(dest ...any) error { return r.guard.note(r.Row.Scan(dest...)) }

type failedRow struct{ err error }

func (r failedRow) Scan(...any) error { return r.err }

type notedRows struct {
	pgx.Rows
	guard *guard
}

func (r *notedRows) Next() bool {
	next := r.Rows.Next()
	if !next {
		_ = r.guard.note(r.Rows.Err())
	}
	return next
}

func (r *notedRows) Close() {
	r.Rows.Close()
	_ = r.guard.note(r.Rows.Err())
}

// noRows returns rows that are closed by err.
func noRows(err error) pgx.Rows {
	rows, _ := pgx.FailedBatchResults(&pgx.Batch{}, err).Query()
	return rows
}

type notedBatch struct {
	pgx.BatchResults
	guard *guard
}

func (b *notedBatch) Exec() (pgconn.CommandTag, error) {
	tag, err := b.BatchResults.Exec()
	return tag, b.guard.note(err)
}

func (b *notedBatch) Query() (pgx.Rows, error) {
	rows, err := b.BatchResults.Query()
	return &notedRows{rows, b.guard}, b.guard.note(err)
}

func (b *notedBatch) QueryRow() pgx.Row { return &notedRow{b.BatchResults.QueryRow(), b.guard} }

func (b *notedBatch) Close() error { return b.guard.note(b.BatchResults.Close()) }
