package idempotency

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
)

// chain is one run's way from recovery point to recovery point. A run without steps has none.
type chain struct {
	call     *call
	attempt  Chain
	progress Progress // as the store has it: sealed, where that is done
	detached context.Context

	// mu is held during the calls of the store, too, so that a step which the handler did not wait for cannot meet its end.
	mu      sync.Mutex
	steps   []step // those of earlier attempts first
	next    int    // of steps, which one the handler names next
	busy    bool   // a step is running
	over    bool   // the handler has returned
	kept    bool   // the store has a pending row of this key
	owned   bool   // and it carries this attempt's token
	doubt   string // the foreign call that was begun, by this attempt or an earlier one, and has no result; comes behind steps
	failure error  // what ended the chain; nothing the handler returns can mend it
}

// newChain returns the chain of a run, or why it cannot have one.
func newChain(c *call, attempt Attempt, detached context.Context) (*chain, error) {
	if c.keyless {
		return nil, ErrKeyMissing.Because(errors.New("idempotency: Atomic and Foreign need a key to resume by: do not make it optional on this route"))
	}
	able, ok := attempt.(Chain)
	if !ok {
		return nil, ErrStepMisuse.Because(fmt.Errorf("idempotency: %T keeps no recovery points: use pgstore", c.store))
	}
	ch := &chain{call: c, attempt: able, detached: detached}
	found := able.Progress()
	if found == nil {
		ch.progress = Progress{Fingerprint: c.request.Fingerprint, Attempt: 1}
		return ch, nil
	}
	ch.progress, ch.kept = *found, true
	ch.progress.Attempt++
	plain, err := c.openSteps(c.request.Key, found)
	if err != nil {
		return nil, err
	}
	steps, err := parseSteps(plain)
	if err != nil {
		return nil, ErrRecordUnreadable.Because(err)
	}
	if last := len(steps) - 1; last >= 0 && steps[last].kind == inDoubt {
		ch.doubt, steps = steps[last].name, steps[:last]
	}
	if err := whole(steps, ch.doubt, found.RecoveryPoint); err != nil {
		return nil, ErrRecordUnreadable.Because(err)
	}
	ch.steps = steps
	return ch, nil
}

// enter begins the step of this kind and name. It returns the stored step if an earlier attempt, or this one, has done it.
func (c *chain) enter(kind stepKind, name string) (*step, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.failure != nil:
		return nil, c.failure
	case c.over:
		return nil, ErrStepMisuse.Because(fmt.Errorf("idempotency: step %q was begun after the handler had returned", name))
	case c.busy:
		return nil, c.fail(ErrStepMisuse.Because(fmt.Errorf("idempotency: step %q was begun inside or beside another step: begin it after that has returned", name)))
	case len(name) > maxStepName || !storable(name):
		return nil, c.fail(ErrStepMisuse.Because(fmt.Errorf("idempotency: a step's name has 1 to %d bytes of UTF-8 without control characters, and is not blank: %q has %d",
			maxStepName, name, len(name))))
	}
	for _, done := range c.steps[:c.next] {
		if done.name == name {
			return nil, c.fail(ErrStepMisuse.Because(fmt.Errorf("idempotency: two steps are named %q: a name says where to resume, so it must be unique in its handler", name)))
		}
	}
	if c.next < len(c.steps) {
		stored := &c.steps[c.next]
		if stored.name != name || stored.kind != kind {
			return nil, c.fail(ErrStepsChanged.Because(fmt.Errorf("idempotency: this request has done step %q (%s) before, and the code now has step %q (%s) in its place: "+
				"deploy code that still has the stored steps, in their order", stored.name, stored.kind, name, kind)))
		}
		c.next++
		return stored, nil
	}
	if c.doubt != "" && (c.doubt != name || kind != foreignCall) {
		return nil, c.fail(c.inDoubt(fmt.Sprintf("the code now has step %q (%s) in its place", name, kind)))
	}
	c.busy = true
	return nil, nil
}

// inDoubt is the error of going on as if the foreign call in doubt had never been begun. Somebody may have been charged by it.
func (c *chain) inDoubt(instead string) error {
	found := c.attempt.Progress()
	if found != nil && bytes.Equal(found.Steps, c.progress.Steps) {
		return ErrStepsChanged.Because(fmt.Errorf("idempotency: an earlier attempt has begun the foreign call %q, whose outcome is not known, and %s: "+
			"deploy code that makes the same call at this point", c.doubt, instead))
	}
	return ErrStepMisuse.Because(fmt.Errorf("idempotency: the foreign call %q has failed, so that its outcome is not known, and %s: "+
		"return its error, and let it return what is final as a result", c.doubt, instead))
}

// fail ends the chain. c.mu is held.
func (c *chain) fail(err error) error {
	if c.failure == nil {
		c.failure = err
	}
	return c.failure
}

// leave ends a step that is not kept. With an error the chain cannot go on.
func (c *chain) leave(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = false
	if err != nil {
		return c.fail(AsError(err))
	}
	return nil
}

// keep commits a step: what it wrote, if it is an atomic phase, and its recovery point.
func (c *chain) keep(s step) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failure != nil { // of a step beside this one, or inside; or the handler has returned
		return c.failure
	}
	progress := c.progress
	steps := append(c.steps[:len(c.steps):len(c.steps)], s)
	progress.RecoveryPoint, progress.LastError = s.name, ""
	err := c.describe(&progress) // which may panic, as the Sealer may: then the step is not left
	if err == nil {
		err = c.list(&progress, steps)
	}
	c.busy = false
	if err == nil {
		err = c.attempt.Save(c.detached, progress, c.call.config.Lease)
	}
	if err != nil {
		return c.fail(AsError(err))
	}
	c.progress, c.steps, c.next = progress, steps, len(steps)
	c.kept, c.owned, c.doubt = true, true, ""
	return nil
}

// detach leaves the database, with nothing held but the lease. A foreign call that follows is in doubt from then on.
func (c *chain) detach(call string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failure != nil {
		return c.failure
	}
	if c.capped() {
		if err := c.room(); err != nil {
			return err
		}
	}
	progress := c.progress
	if call != "" && call != c.doubt { // one that is in doubt is in the list already
		if err := c.list(&progress, append(c.steps[:len(c.steps):len(c.steps)], step{kind: inDoubt, name: call})); err != nil {
			return err
		}
	}
	if err := c.describe(&progress); err != nil {
		return err
	}
	if err := c.attempt.Detach(c.detached, progress, c.call.config.Lease); err != nil {
		return err
	}
	c.progress, c.kept, c.owned = progress, true, true
	if call != "" {
		c.doubt = call
	}
	return nil
}

// list puts steps into progress, as they are stored.
func (c *chain) list(progress *Progress, steps []step) (err error) {
	progress.Steps, err = c.call.sealPart(stepsPart, c.call.request.Key, progress.Fingerprint, appendSteps(nil, steps))
	return err
}

// begin begins an atomic phase.
func (c *chain) begin() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failure != nil {
		return c.failure
	}
	if c.capped() {
		return c.room()
	}
	return c.attempt.Begin(c.detached)
}

// describe adds the request, by which the completer makes it again, to the first progress that is stored.
func (c *chain) describe(progress *Progress) error {
	if c.kept || progress.Request != nil || c.call.request.Describe == nil {
		return nil
	}
	description, err := c.call.request.Describe()
	if err != nil {
		return ErrInternal.Because(fmt.Errorf("idempotency: Request.Describe: %w", err))
	}
	if description == nil {
		return nil
	}
	progress.Request, err = c.call.sealPart(requestPart, c.call.request.Key, progress.Fingerprint, description)
	return err
}

// end is called when the handler has returned. It returns why the handler's response cannot count, or nil.
func (c *chain) end(outcome Outcome) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	switch {
	case c.failure != nil:
	case c.busy:
		_ = c.fail(ErrStepMisuse.Because(errors.New("idempotency: the handler returned while a step of it was running: wait for the goroutines that it starts")))
	case outcome != Release && c.next < len(c.steps):
		_ = c.fail(ErrStepsChanged.Because(fmt.Errorf("idempotency: this request has done step %q before, and the code returned without naming it: "+
			"deploy code that still has the stored steps, in their order", c.steps[c.next].name)))
	case outcome != Release && c.doubt != "":
		_ = c.fail(c.inDoubt("the handler has answered all the same"))
	}
	return c.failure
}

// left returns what the row of a key is to keep of an attempt that has no answer, if there is anything that it keeps: any other key is
// free again. The next attempt need not wait for the lease.
func (c *chain) left(cause error, status int) (Progress, bool) {
	untouched := errors.Is(cause, ErrLeaseLost) || errors.Is(cause, ErrStepsChanged) && !c.owned
	if !c.kept || untouched {
		return Progress{}, false
	}
	progress := c.progress
	progress.LastError = c.call.lastError(cause, status)
	if errors.Is(cause, ErrTransactionEnded) {
		progress.Completions = Held
	}
	return progress, true
}
