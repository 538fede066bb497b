package idempotency

import (
	"context"
	"errors"
)

// resumption is a request that the completer makes.
type resumption struct {
	pending *Pending
	reached bool // the engine has claimed the key for it
	settled bool // the key is completed
}

type resumptionKey struct{}

// Resuming returns the pending key for which the completer makes a request with this ctx. No client can bring such a ctx about: what
// asks for credentials may take the key's scope for the caller's identity, since it was that when the request first came.
func Resuming(ctx context.Context) (*Pending, bool) {
	r, ok := ctx.Value(resumptionKey{}).(*resumption)
	if !ok {
		return nil, false
	}
	return r.pending, true
}

// resumptionOf returns the completer's request that a call with ctx for key is, or nil.
func resumptionOf(ctx context.Context, key Key) *resumption {
	if r, ok := ctx.Value(resumptionKey{}).(*resumption); ok && r.pending.Key == key {
		return r
	}
	return nil
}

// settled tells the completer, if the request is its, that the key has its response.
func (c *call) settled() {
	if c.resumption != nil {
		c.resumption.settled = true
	}
}

// resumable checks, before the handler runs, that a key which an earlier attempt has left belongs to this request. On an error the
// attempt is over.
func (c *call) resumable(ctx context.Context, attempt Attempt) error {
	var progress *Progress
	if chain, ok := attempt.(Chain); ok {
		progress = chain.Progress()
	}
	if progress == nil && c.resumption == nil {
		return nil
	}
	switch err := c.fits(ctx, attempt, progress); err {
	case nil:
		return nil
	case error(ErrKeyReused):
		c.observe(ctx, Reused, ErrKeyReused.Code.Status(), nil)
		return err
	default:
		return c.failed(ctx, err)
	}
}

// fits says why a key that an earlier attempt has left does not belong to this request. Then the attempt is over, and also when
// Request.Matches or the Sealer panics.
func (c *call) fits(ctx context.Context, attempt Attempt, progress *Progress) (err error) {
	err = errPanicked
	defer func() {
		if err != nil {
			_ = attempt.Release(context.WithoutCancel(ctx))
		}
	}()
	switch {
	case progress == nil: // it was completed, and has expired since
		return ErrLeaseLost.Because(errors.New("idempotency: the key is not pending any more"))
	case c.resumption != nil && progress.Completions != c.resumption.pending.Completions:
		return ErrInProgress // another completer has tried since it was listed, and now it has to wait
	case progress.Completions == Held:
		return ErrTransactionEnded.Because(errors.New("idempotency: an earlier attempt has ended its transaction, and what it has written may be there: " + progress.LastError))
	case c.request.isSame(progress.Fingerprint):
		return nil
	}
	if _, err := c.openSteps(c.request.Key, progress); err != nil {
		return err // the fingerprint is not to be believed either
	}
	return ErrKeyReused
}

// resume prepares a run of a key that an earlier attempt has left.
func (c *call) resume(run *run, attempt Attempt) error {
	able, ok := attempt.(Chain)
	if !ok || able.Progress() == nil {
		return nil
	}
	chain, err := run.steps() // also for a handler that names no step any more
	if err != nil {
		return err
	}
	if c.resumption != nil {
		// Counted before anything runs: a step that kills the process must not be tried for ever.
		if !c.resumption.reached { // once, however often the handler is run again
			chain.progress.Completions++
		}
		c.resumption.reached = true
		if err := chain.detach(""); err != nil {
			return err
		}
		_ = able.Undo(run.outer) // which gives the handler its transaction back
	}
	c.observe(run, Resumed, 0, nil)
	return nil
}
