package pgstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// transaction is the pgx.Tx of a transaction that the store has begun on its own wire, where pgx makes none. It ends with the
// attempt: its own Commit and Rollback are never called (see guardedTx).
type transaction struct {
	conn       *pgx.Conn
	bound      time.Duration // of a round trip that has no context
	savepoints int
}

var _ pgx.Tx = (*transaction)(nil)

func (t *transaction) Begin(ctx context.Context) (pgx.Tx, error) {
	t.savepoints++
	s := &savepoint{transaction: t, name: fmt.Sprintf("onlyonce_%d", t.savepoints)}
	if _, err := t.conn.Exec(ctx, "SAVEPOINT "+s.name); err != nil {
		return nil, err
	}
	return s, nil
}

func (t *transaction) Commit(context.Context) error   { return ErrTxGuarded }
func (t *transaction) Rollback(context.Context) error { return ErrTxGuarded }
func (t *transaction) Conn() *pgx.Conn                { return t.conn }

func (t *transaction) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return t.conn.Exec(ctx, sql, args...)
}

func (t *transaction) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return t.conn.Query(ctx, sql, args...)
}

func (t *transaction) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return t.conn.QueryRow(ctx, sql, args...)
}

func (t *transaction) Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error) {
	return t.conn.Prepare(ctx, name, sql)
}

func (t *transaction) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error) {
	return t.conn.CopyFrom(ctx, table, columns, rows)
}

func (t *transaction) SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults {
	if pgx.FailedBatchResults(batch, errBeginTx).Tx() != nil {
		return pgx.FailedBatchResults(batch, errBeginTx)
	}
	return t.conn.SendBatch(ctx, batch)
}

var errBeginTx = errors.New("pgstore: Batch.BeginTx cannot be used within a transaction")

// LargeObjects needs a transaction of pgx's own, which a statement that does nothing makes one of this transaction: it takes a
// round trip.
func (t *transaction) LargeObjects() pgx.LargeObjects {
	ctx, cancel := context.WithTimeout(context.Background(), t.bound)
	defer cancel()
	tx, err := t.conn.BeginTx(ctx, pgx.TxOptions{BeginQuery: "SELECT"})
	if err != nil {
		tx = closedTx
	}
	return tx.LargeObjects()
}

// savepoint is a transaction inside of one. Once it has ended its methods return pgx.ErrTxClosed.
type savepoint struct {
	*transaction
	name string
	over bool
}

func (s *savepoint) end(ctx context.Context, sql string) error {
	if s.over {
		return pgx.ErrTxClosed
	}
	_, err := s.conn.Exec(ctx, sql+s.name)
	s.over = true
	return err
}

func (s *savepoint) Commit(ctx context.Context) error   { return s.end(ctx, "RELEASE SAVEPOINT ") }
func (s *savepoint) Rollback(ctx context.Context) error { return s.end(ctx, "ROLLBACK TO SAVEPOINT ") }

func (s *savepoint) Begin(ctx context.Context) (pgx.Tx, error) {
	if s.over {
		return nil, pgx.ErrTxClosed
	}
	return s.transaction.Begin(ctx)
}

func (s *savepoint) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	if s.over {
		return pgconn.CommandTag{}, pgx.ErrTxClosed
	}
	return s.transaction.Exec(ctx, sql, args...)
}

func (s *savepoint) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if s.over {
		return noRows(pgx.ErrTxClosed), pgx.ErrTxClosed
	}
	return s.transaction.Query(ctx, sql, args...)
}

func (s *savepoint) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	if s.over {
		return failedRow{pgx.ErrTxClosed}
	}
	return s.transaction.QueryRow(ctx, sql, args...)
}

func (s *savepoint) Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error) {
	if s.over {
		return nil, pgx.ErrTxClosed
	}
	return s.transaction.Prepare(ctx, name, sql)
}

func (s *savepoint) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error) {
	if s.over {
		return 0, pgx.ErrTxClosed
	}
	return s.transaction.CopyFrom(ctx, table, columns, rows)
}

func (s *savepoint) LargeObjects() pgx.LargeObjects {
	if s.over {
		return closedTx.LargeObjects()
	}
	return s.transaction.LargeObjects()
}

func (s *savepoint) SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults {
	if s.over {
		return pgx.FailedBatchResults(batch, pgx.ErrTxClosed)
	}
	return s.transaction.SendBatch(ctx, batch)
}
