package idempotency

import (
	"context"
	"errors"
)

// How a run ends, once its handler has: with a record, without one, or without an outcome.

var errPanicked = errors.New("idempotency: the handler panicked")

// abandon ends an attempt that nothing else has ended: the handler has panicked, or called runtime.Goexit, or something else of the
// user's has that was asked about its outcome. Nothing of theirs is called before the attempt is over.
func (c *call) abandon(run *run) {
	if chain, _ := run.returned(); chain != nil {
		if broken, ok := chain.end(Release).(*Error); ok && broken.Code == CodeTransactionEnded {
			_, _, _ = c.broken(run, broken) // what a step has committed by itself is not undone by a panic
			return
		}
	}
	if err := run.giveUp(errPanicked, 0); errors.Is(err, ErrTransactionEnded) {
		_ = c.failed(run.outer, err)
	} else {
		c.observe(run.outer, Released, 0, err)
	}
}

// broken ends an attempt that can have no outcome.
func (c *call) broken(run *run, err error) (Result, *Record, error) {
	_ = run.giveUp(err, 0)
	return Result{}, nil, c.failed(run.outer, err)
}

// settle stores the response, with the handler's writes or without them.
func (c *call) settle(run *run, outcome Outcome, response Response, handlerErr error) (Result, *Record, error) {
	var record, stored *Record // as the handler made it, and as the store gets it: sealed once, for the store compares it with what it reads back
	if !c.keyless {
		record = &Record{Fingerprint: c.request.Fingerprint, Response: response}
		var err error
		if stored, err = c.sealRecord(c.request.Key, record); err != nil {
			return c.broken(run, err)
		}
	}
	since := c.asked()
	settled, err := run.store(outcome, stored)
	if settled.ReadBack {
		c.observe(run.outer, UnknownResolved, response.Status, err)
	}
	switch {
	case err != nil:
		return Result{}, nil, c.failed(run.outer, err)
	case settled.Record != stored:
		return c.outrun(run.outer, settled.Record)
	case !c.keyless:
		c.recent.add(c.request.Key)
		if !settled.ReadBack { // then it is from this very commit that the retention counts
			c.cache(c.request.Key, record, c.config.Retention, since)
		}
	}
	c.settled()
	kind := Completed
	if outcome == Refuse {
		kind = Refused
	}
	c.observe(run.outer, kind, response.Status, nil)
	return Result{Response: response}, record, handlerErr
}

// outrun answers with what is stored of another attempt, which came first.
func (c *call) outrun(ctx context.Context, stored *Record) (Result, *Record, error) {
	record, err := c.openRecord(c.request.Key, stored)
	if err != nil {
		return Result{}, nil, c.failed(ctx, err)
	}
	result, err := c.replay(ctx, record)
	return result, record, err
}

// release frees the key. The handler's own answer, or error, is the answer, unless the transaction ended in a way that the
// client must know of.
func (c *call) release(run *run, response Response, handlerErr error) (Result, *Record, error) {
	err := run.giveUp(handlerErr, response.Status)
	if errors.Is(err, ErrTransactionConflict) || errors.Is(err, ErrTransactionEnded) {
		return Result{}, nil, c.failed(run.outer, err)
	}
	c.observe(run.outer, Released, response.Status, err)
	if handlerErr != nil {
		return Result{}, nil, handlerErr
	}
	return Result{Response: response}, nil, nil
}
