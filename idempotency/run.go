package idempotency

import (
	"context"
	"errors"
	"sync"
	"time"
)

// run is the context of a running handler: it carries the values of the request's context, does not end with it, and has a
// bound of its own. It also marks what happens inside a handler, so that a claim there is refused: two handlers that nest
// each other's keys in different orders would wait for each other.
//
// The timer and the channel of a context cost more than the rest of a replay or of a handler in memory; they are made when
// somebody asks for them.
type run struct {
	outer    context.Context // never cancelled
	deadline time.Time
	call     call
	attempt  Attempt
	ended    bool // the attempt, or the store has been told to; for the engine's goroutine alone

	mu     sync.Mutex
	inner  context.Context // nil until somebody asks
	cancel context.CancelFunc
	over   bool
	chain  *chain // nil until the handler names a step
	broken error  // why it cannot have one
}

type runKey struct{}

func newRun(detached context.Context, c *call, attempt Attempt) *run {
	return &run{outer: detached, deadline: time.Now().Add(c.config.HandlerTimeout), call: *c, attempt: attempt}
}

// steps returns the run's chain.
func (r *run) steps() (*chain, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.chain == nil {
		if r.over {
			return nil, ErrStepMisuse.Because(errors.New("idempotency: a step was begun after the handler had returned"))
		}
		chain, err := newChain(&r.call, r.attempt, r.outer)
		if err != nil {
			r.broken = err
			return nil, err
		}
		r.chain = chain
	}
	return r.chain, nil
}

// running reports whether ctx is inside a handler. What outlives the handler is not inside it any more.
func running(ctx context.Context) bool {
	r, ok := ctx.Value(runKey{}).(*run)
	if !ok {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.over
}

// returned says that the handler has returned: no step begins any more. It returns the chain of those that it named, or why it
// could not have one.
func (r *run) returned() (*chain, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	return r.chain, r.broken
}

// giveUp ends the attempt without an answer. A key that has a recovery point keeps it.
func (r *run) giveUp(cause error, status int) error {
	chain, _ := r.returned()
	if chain == nil {
		return r.release()
	}
	progress, keep := chain.left(cause, status)
	if !keep {
		return r.release()
	}
	r.ended = true
	return chain.attempt.Yield(r.outer, progress)
}

// release ends the attempt and changes nothing.
func (r *run) release() error {
	r.ended = true
	return r.attempt.Release(r.outer)
}

// store ends the attempt with a record.
func (r *run) store(outcome Outcome, record *Record) (Settled, error) {
	r.ended = true
	if outcome == Refuse {
		return r.attempt.Refuse(r.outer, record, r.call.config.Retention)
	}
	return r.attempt.Complete(r.outer, record, r.call.config.Retention)
}

// end cancels the context.
func (r *run) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	if r.cancel != nil {
		r.cancel()
	}
}

func (r *run) context() context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.inner == nil {
		r.inner, r.cancel = context.WithDeadline(r.outer, r.deadline)
		if r.over {
			r.cancel()
		}
	}
	return r.inner
}

func (r *run) Deadline() (time.Time, bool) { return r.deadline, true }
func (r *run) Done() <-chan struct{}       { return r.context().Done() }
func (r *run) Err() error                  { return r.context().Err() }

func (r *run) Value(key any) any {
	if key == (runKey{}) {
		return r
	}
	// Not from outer, whichever key it is: package context finds the context that cancels another one by a key, too.
	return r.context().Value(key)
}
