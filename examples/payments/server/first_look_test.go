package server_test

import (
	"context"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
)

// firstLook knows when the completer has looked for the first time for payments that nobody came back for. It looks when a server
// starts, and must not take over what a test begins.
type firstLook struct {
	once  sync.Once
	taken chan struct{}
}

func (*firstLook) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}
func (*firstLook) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (*firstLook) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return ctx
}

func (f *firstLook) TraceBatchQuery(_ context.Context, _ *pgx.Conn, data pgx.TraceBatchQueryData) {
	if strings.Contains(data.SQL, `ORDER BY created_at LIMIT`) {
		f.once.Do(func() { close(f.taken) })
	}
}

func (*firstLook) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}
