package idempotency

import (
	"context"
	"sync/atomic"
)

// run marks the context of a running handler, so that a claim inside it is refused: two handlers that nest each other's
// keys in different orders would wait for each other. What outlives the handler is not inside it any more.
type run struct {
	context.Context
	over atomic.Bool
}

type runKey struct{}

func (r *run) Value(key any) any {
	if key == (runKey{}) {
		return r
	}
	return r.Context.Value(key)
}

func running(ctx context.Context) bool {
	r, ok := ctx.Value(runKey{}).(*run)
	return ok && !r.over.Load()
}
