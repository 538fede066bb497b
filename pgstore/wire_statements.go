package pgstore

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/keytable"
)

// claim is attempt.ask on a wire.
func (w *wire) claim(ctx context.Context, a *attempt, level pgx.TxIsoLevel) (asked, error) {
	sql := &a.store.sql
	said := claimAnswers{attempt: a}
	_, err := w.roundTrip(ctx, append(w.batch[:0],
		statement{sql: beginSQL(level)},
		statement{sql: sql.Lock, args: w.args(w.int8(a.lock))},
		statement{sql: sql.Read, args: w.args(w.text(a.key.Scope), w.text(a.key.Value))},
	), &said)
	a.hold(&transaction{conn: a.conn.Conn(), bound: a.store.config.Timeout})
	return said.asked, err
}

func beginSQL(level pgx.TxIsoLevel) string {
	switch level {
	case pgx.RepeatableRead:
		return "BEGIN ISOLATION LEVEL REPEATABLE READ"
	case pgx.Serializable:
		return "BEGIN ISOLATION LEVEL SERIALIZABLE"
	}
	return "BEGIN ISOLATION LEVEL READ COMMITTED"
}

type claimAnswers struct {
	attempt *attempt
	asked
}

func (c *claimAnswers) done(int, []byte) {}

func (c *claimAnswers) row(at int, values [][]byte) error {
	if at == 2 {
		return c.found.read(values)
	}
	from := columns{values: values}
	c.locked, c.attempt.began, c.attempt.table, c.standby = from.bool(), from.time(), from.uint32(), from.bool()
	return from.end()
}

// read is [Store.Lookup]'s statement on a wire.
func (w *wire) read(ctx context.Context, s *Store, key idempotency.Key, found *row) error {
	_, err := w.roundTrip(ctx, append(w.batch[:0], statement{sql: s.sql.Read, args: w.args(w.text(key.Scope), w.text(key.Value))}), (*readAnswers)(found))
	return err
}

type readAnswers row

func (r *readAnswers) done(int, []byte)                 {}
func (r *readAnswers) row(_ int, values [][]byte) error { return (*row)(r).read(values) }

// read is scan of a row that came by a wire.
func (r *row) read(values [][]byte) error {
	from := columns{values: values}
	r.State, r.Fingerprint, r.Status, r.Headers, r.Body = string(from.next(0)), from.bytes(), from.int2(), from.bytes(), from.bytes()
	expires, now := from.moment(), from.moment()
	r.Judge(expires, now, string(from.next(0)), string(from.next(0)))
	return from.end()
}

// wiredEnding is the last batch of an attempt on a wire.
type wiredEnding struct {
	wire       *wire
	statements []statement
	sent       sent
	insertAt   int
}

// takes reports whether there is a wire, and whether it can carry record: pgx has words for a status that the column does not hold.
func (w *wire) takes(record *idempotency.Record) bool {
	return w != nil && record.Response.Status == int(int16(record.Response.Status))
}

// completion is the ending that inserts record behind the handler's writes and commits both.
func (w *wire) completion(a *attempt, record *idempotency.Record, retention time.Duration) *ending {
	sql, r := &a.store.sql, &record.Response
	statements := w.batch[:0]
	scope, key := w.text(a.key.Scope), w.text(a.key.Value)
	if a.expired != nil {
		statements = append(statements, statement{sql: sql.DeleteExpired, args: w.args(scope, key)})
	}
	statements = append(statements,
		statement{sql: sql.Complete, args: w.args(scope, key, record.Fingerprint[:], w.int2(r.Status), notNil(r.Header), notNil(r.Body),
			w.time(a.began), w.interval(retention), w.int4(a.table))},
		statement{sql: keytable.CommitSQL})
	commitAt := len(statements) - 1
	return &ending{
		wired: &wiredEnding{wire: w, statements: statements, insertAt: commitAt - 1}, record: record, insertAt: commitAt - 1, commitAt: commitAt,
	}
}

func (e *wiredEnding) send(ctx context.Context, last *ending) sent {
	at, err := e.wire.roundTrip(ctx, e.statements, e)
	e.sent.at, e.sent.err = at, err
	if at > last.commitAt { // once COMMIT is answered nothing that follows can undo it
		e.sent.err = nil
	}
	return e.sent.judged(last)
}

func (e *wiredEnding) row(int, [][]byte) error { return nil }

func (e *wiredEnding) done(at int, tag []byte) {
	e.sent.tag = pgconn.NewCommandTag(string(tag))
	if at == e.insertAt {
		e.sent.inserted = e.sent.tag.RowsAffected()
	}
}
