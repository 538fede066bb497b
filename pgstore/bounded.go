package pgstore

import (
	"context"
	"sync"
	"time"
)

// bounded returns ctx with the store's own bound. Its statements are not to be taken for a handler's (see OutsideTracer), whose
// context it may be.
func (s *Store) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	b := &boundContext{outer: ctx, deadline: time.Now().Add(s.config.Timeout)}
	return b, b.end
}

// boundContext is a context whose timer is made when somebody asks for its channel: a wire never does, since its sockets have the
// deadline.
type boundContext struct {
	outer    context.Context
	deadline time.Time

	mu     sync.Mutex
	inner  context.Context // nil until somebody asks
	cancel context.CancelFunc
	over   bool
}

func (b *boundContext) context() context.Context {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.inner == nil {
		b.inner, b.cancel = context.WithDeadline(b.outer, b.deadline)
		if b.over {
			b.cancel()
		}
	}
	return b.inner
}

func (b *boundContext) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over = true
	if b.cancel != nil {
		b.cancel()
	}
}

func (b *boundContext) Deadline() (time.Time, bool) {
	if outer, ok := b.outer.Deadline(); ok && outer.Before(b.deadline) {
		return outer, true
	}
	return b.deadline, true
}

func (b *boundContext) Done() <-chan struct{} { return b.context().Done() }
func (b *boundContext) Err() error            { return b.context().Err() }

func (b *boundContext) Value(key any) any {
	if key == (txKey{}) {
		return nil
	}
	// Not from outer: package context finds the context that cancels another one by a key, too.
	return b.context().Value(key)
}

// beyond returns the context whose end, if it has one, ends ctx before its deadline.
func beyond(ctx context.Context) context.Context {
	for {
		b, ok := ctx.(*boundContext)
		if !ok {
			return ctx
		}
		ctx = b.outer
	}
}
