package pgstore

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/onlyonce/onlyonce/internal/keytable"
)

// Outside is a statement that a protected handler sent over another connection than its transaction's: what it wrote stays
// when the handler's writes are rolled back, and is written again by a retry.
type Outside struct {
	// Scope is that of the handler's key.
	Scope string
	// SQL is the statement's text, without arguments; that of a COPY is the table's name.
	SQL string
	// Tag is what the server said of it. Tag.Select() mostly means that it has only read.
	Tag pgconn.CommandTag
	// Err is why it failed, or nil.
	Err error
}

// OutsideTracer finds the handlers that break the promise: nothing can keep a handler from writing over another connection, but a
// tracer sees it do so. It is a pgx tracer, for the pools that handlers can reach, this store's own among them:
//
//	config.ConnConfig.Tracer = pgstore.NewOutsideTracer(func(ctx context.Context, o pgstore.Outside) {
//		slog.ErrorContext(ctx, "written past pgstore.Tx", "sql", o.SQL)
//	})
//
// Together with another tracer by pgx's multitracer. It knows a handler by the context that a statement is given: what is sent
// under another one, or past pgx, is not seen. What begins, ends or prepares a transaction is not reported, only the statements in it.
// It sends nothing itself, and costs a look at the context for each statement.
type OutsideTracer struct {
	report func(context.Context, Outside)
}

var (
	_ pgx.QueryTracer    = (*OutsideTracer)(nil)
	_ pgx.BatchTracer    = (*OutsideTracer)(nil)
	_ pgx.CopyFromTracer = (*OutsideTracer)(nil)
)

// NewOutsideTracer returns a tracer that calls report once for every such statement, after it, in the goroutine that sent it.
// report must not send statements under the context that it is given.
func NewOutsideTracer(report func(context.Context, Outside)) *OutsideTracer {
	return &OutsideTracer{report: report}
}

type outsideKey struct{}

// outside marks ctx if it is a handler's, and conn is not its transaction's.
func (t *OutsideTracer) outside(ctx context.Context, conn *pgx.Conn, sql string) context.Context {
	a, ok := ctx.Value(txKey{}).(*attempt)
	if !ok || a.isOn(conn) {
		return ctx
	}
	return context.WithValue(ctx, outsideKey{}, &Outside{Scope: a.key.Scope, SQL: sql})
}

// isOn reports whether conn is that of the open transaction. It takes no lock: who asks holds a connection, and who holds the lock may
// be waiting for one.
func (a *attempt) isOn(conn *pgx.Conn) bool { return a.traced.Load() == conn }

// ended reports the statement that ctx was marked for.
func (t *OutsideTracer) ended(ctx context.Context, sql string, tag pgconn.CommandTag, err error) {
	marked, ok := ctx.Value(outsideKey{}).(*Outside)
	if !ok {
		return
	}
	found := *marked
	found.Tag, found.Err = tag, err
	if sql != "" {
		found.SQL = sql
	}
	switch tag.String() {
	case "BEGIN", "START TRANSACTION", keytable.CommitSQL, keytable.RollbackSQL, "SAVEPOINT", "RELEASE":
		if !strings.Contains(found.SQL, ";") { // otherwise it is only the last of several
			return
		}
	case "":
		if err == nil {
			return // a ping
		}
	}
	t.report(ctx, found)
}

// TraceQueryStart implements [pgx.QueryTracer].
func (t *OutsideTracer) TraceQueryStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	return t.outside(ctx, conn, data.SQL)
}

// TraceQueryEnd implements [pgx.QueryTracer].
func (t *OutsideTracer) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	t.ended(ctx, "", data.CommandTag, data.Err)
}

// TraceBatchStart implements [pgx.BatchTracer].
func (t *OutsideTracer) TraceBatchStart(ctx context.Context, conn *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return t.outside(ctx, conn, "")
}

// TraceBatchQuery implements [pgx.BatchTracer].
func (t *OutsideTracer) TraceBatchQuery(ctx context.Context, _ *pgx.Conn, data pgx.TraceBatchQueryData) {
	t.ended(ctx, data.SQL, data.CommandTag, data.Err)
}

// TraceBatchEnd implements [pgx.BatchTracer].
func (t *OutsideTracer) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

// TraceCopyFromStart implements [pgx.CopyFromTracer].
func (t *OutsideTracer) TraceCopyFromStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceCopyFromStartData) context.Context {
	return t.outside(ctx, conn, data.TableName.Sanitize())
}

// TraceCopyFromEnd implements [pgx.CopyFromTracer].
func (t *OutsideTracer) TraceCopyFromEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceCopyFromEndData) {
	t.ended(ctx, "", data.CommandTag, data.Err)
}
