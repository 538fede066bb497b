package idempotency

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Atomic runs fn as an atomic phase: what it writes through the store's transaction (pgstore.Tx, with fn's own ctx) is committed
// together with the recovery point of this name, before Atomic returns. A later attempt at the key, by a retry or by the
// completer, does not run fn again: it gets the stored result.
//
// The result goes through Config.Codec the first time too, so that what the codec drops is missed in the first test and not
// after the first crash. Names are unique in a handler, and the order of steps is part of what is stored: see [ErrStepsChanged]
// for what a deploy may change.
//
// An error of fn rolls back what it wrote and is returned as it is; the recovery point stays where it was. An error of the
// library's own is an *Error, and final: no later step of this run succeeds, and the request is answered with it whatever the
// handler returns. [ErrLeaseLost] says that another attempt has taken over; [ErrStepMisuse] is a mistake in the handler, such as
// writing through pgstore.Tx before a step and outside of it, which a resumed run would write twice.
//
// While fn runs its transaction holds the key's lock, which is gone with the process.
func Atomic[T any](ctx context.Context, point string, fn func(ctx context.Context) (T, error)) (T, error) {
	var none T
	c, stored, err := begin(ctx, atomicPhase, point)
	if err != nil {
		return none, err
	}
	if stored != nil {
		return resultOf[T](c, *stored)
	}
	defer c.unlessLeft()
	if err := c.begin(); err != nil {
		return none, c.leave(err)
	}
	value, err := fn(ctx)
	if err != nil {
		return none, c.undo(err)
	}
	return kept(c, atomicPhase, point, value)
}

// Foreign runs fn as a foreign call: an effect outside of the database. No transaction and no connection is held while it runs,
// only the lease, which is renewed until fn returns or Config.HandlerTimeout is over. Its result is committed as the recovery
// point of this name; a later attempt gets the result and does not run fn again.
//
// An attempt that ends between the effect and the recovery point runs fn again, so the effect must be idempotent by the key
// that fn is given. It is made of scope, idempotency key and point alone, the same on every attempt and for ever: see
// [ForeignKey] for its form. Where the provider has no such keys, use [ForeignReconciled], which asks first.
//
// An error of fn is returned as it is and leaves the recovery point where it was: return one whenever the outcome is not known
// (a timeout, a lost reply), and return what is final, such as a declined card, as a result. After an error the call is in doubt, in
// this attempt and in those that follow, until it has returned a result: no other step can be begun, and no response is kept. From the
// first foreign call on, the key is never freed, only resumed. The ctx of fn ends when the lease is lost. Errors of the library's own are as with [Atomic].
func Foreign[T any](ctx context.Context, point string, fn func(ctx context.Context, key string) (T, error)) (T, error) {
	return ForeignReconciled(ctx, point, nil, fn)
}

// ForeignReconciled is [Foreign] for effects that can be looked up: where an earlier attempt may have run fn, ask is called
// first, and fn only if ask reports that the effect is not there. It must tell "not there" from "cannot say", which is an error.
func ForeignReconciled[T any](ctx context.Context, point string,
	ask func(ctx context.Context, key string) (result T, found bool, err error),
	fn func(ctx context.Context, key string) (T, error)) (T, error) {
	var none T
	c, stored, err := begin(ctx, foreignCall, point)
	if err != nil {
		return none, err
	}
	if stored != nil {
		return resultOf[T](c, *stored)
	}
	defer c.unlessLeft()
	earlier := c.doubt != "" // an attempt before this one, or an earlier try of this one, has come as far as fn
	if err := c.detach(point); err != nil {
		return none, c.leave(err)
	}
	value, err := holdLease(ctx, c, func(ctx context.Context) (T, error) {
		key := ForeignKey(c.call.request.Key, point)
		if ask != nil && earlier {
			if value, found, err := ask(ctx, key); found || err != nil {
				return value, err
			}
		}
		return fn(ctx, key)
	})
	if err != nil {
		return none, c.undo(err)
	}
	return kept(c, foreignCall, point, value)
}

// kept commits a step, and returns its result as a later attempt will get it.
func kept[T any](c *chain, kind stepKind, point string, value T) (T, error) {
	var none T
	result, err := c.encode(point, value)
	if err != nil {
		_ = c.undo(err)
		return none, c.leave(err)
	}
	s := step{kind, point, result}
	if err := c.keep(s); err != nil {
		return none, err
	}
	return resultOf[T](c, s)
}

// begin finds the chain that ctx belongs to and enters the step.
func begin(ctx context.Context, kind stepKind, point string) (*chain, *step, error) {
	r, ok := ctx.Value(runKey{}).(*run)
	if !ok {
		return nil, nil, ErrStepMisuse.Because(fmt.Errorf("idempotency: step %q outside of a protected handler: pass the handler's own context", point))
	}
	c, err := r.steps()
	if err != nil {
		return nil, nil, err
	}
	stored, err := c.enter(kind, point)
	return c, stored, err
}

// holdLease runs fn and renews the lease beside it. Losing the lease ends fn's context.
func holdLease[T any](ctx context.Context, c *chain, fn func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		beat := time.NewTicker(c.call.config.Lease / 3)
		defer beat.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-beat.C:
			}
			// Any other error may pass before the lease is over; if it does not, the next step finds out.
			// Not with ctx: a statement that is cancelled costs its connection.
			if err := c.attempt.Renew(c.detached, c.call.config.Lease); errors.Is(err, ErrLeaseLost) {
				cancel(err)
				return
			}
		}
	}()
	defer func() {
		cancel(nil)
		<-stopped
	}()
	value, err := fn(ctx)
	if lost := context.Cause(ctx); err != nil && errors.Is(lost, ErrLeaseLost) {
		err = errors.Join(lost, err) // most functions tell that ctx has ended, and not why
	}
	return value, err
}

// undo ends a step whose function failed by err.
func (c *chain) undo(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = false
	if c.failure != nil { // the end of the attempt rolls back
		return err
	}
	undone := c.attempt.Undo(c.detached)
	switch {
	case errors.Is(undone, ErrTransactionConflict), errors.Is(undone, ErrTransactionEnded), errors.Is(err, ErrLeaseLost):
		return c.fail(AsError(errors.Join(undone, err)))
	}
	return err
}

// unlessLeft ends the chain of a step that panics: what it wrote must not be taken for the handler's, should that recover.
func (c *chain) unlessLeft() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy {
		c.busy = false
		_ = c.fail(ErrStepMisuse.Because(errors.New("idempotency: a step panicked")))
	}
}

func (c *chain) encode(point string, value any) ([]byte, error) {
	result, err := c.call.config.Codec.Marshal(value)
	if err != nil {
		return nil, ErrStepMisuse.Because(fmt.Errorf("idempotency: the result of step %q, a %T, cannot be stored: %w", point, value, err))
	}
	if most := c.call.config.MaxResponseBytes; len(result) > most {
		return nil, ErrStepMisuse.Because(fmt.Errorf("idempotency: the result of step %q has %d bytes, Config.MaxResponseBytes allows %d: return less", point, len(result), most))
	}
	return result, nil
}

// resultOf decodes a stored result. One that does not fit ends the chain: the code has changed.
func resultOf[T any](c *chain, s step) (T, error) {
	var value, none T
	if err := c.call.config.Codec.Unmarshal(s.result, &value); err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		return none, c.fail(ErrStepsChanged.Because(fmt.Errorf("idempotency: the stored result of step %q does not fit %T: %w", s.name, value, err)))
	}
	return value, nil
}

// Codec turns the results of steps into bytes and back.
type Codec interface {
	Marshal(value any) ([]byte, error)
	Unmarshal(data []byte, value any) error
}

type jsonCodec struct{}

func (jsonCodec) Marshal(value any) ([]byte, error)      { return json.Marshal(value) }
func (jsonCodec) Unmarshal(data []byte, value any) error { return json.Unmarshal(data, value) }

type stepKind byte

const (
	atomicPhase stepKind = 'a'
	foreignCall stepKind = 'f'
	// inDoubt is a foreign call that was begun. It is the last of a list, and gives way to the call's result.
	inDoubt stepKind = 'd'
)

func (k stepKind) String() string {
	switch k {
	case atomicPhase:
		return "atomic phase"
	case inDoubt:
		return "foreign call in doubt"
	}
	return "foreign call"
}

// step is what is stored of a step.
type step struct {
	kind   stepKind
	name   string
	result []byte
}

const maxStepName = 100

// stepsVersion is the first byte of a list of steps. Each step follows: its kind, and name and result after their lengths
// as unsigned varints.
const stepsVersion = 1

func appendSteps(b []byte, steps []step) []byte {
	b = append(b, stepsVersion)
	for _, s := range steps {
		b = append(b, byte(s.kind))
		b = binary.AppendUvarint(b, uint64(len(s.name)))
		b = append(b, s.name...)
		b = binary.AppendUvarint(b, uint64(len(s.result)))
		b = append(b, s.result...)
	}
	return b
}

var errSteps = errors.New("idempotency: the stored list of steps is damaged, or of a newer version of this library")

// whole checks that a list ends where the row says that it does. Steps that were cut off its end would be run again.
func whole(steps []step, doubt, recoveryPoint string) error {
	last := ""
	if len(steps) > 0 {
		last = steps[len(steps)-1].name
	}
	if last != recoveryPoint || last == "" && doubt == "" {
		return errSteps
	}
	return nil
}

// parseSteps reads a list strictly. None is stored until the first step is done.
func parseSteps(b []byte) ([]step, error) {
	if len(b) == 0 {
		return nil, nil
	}
	if b[0] != stepsVersion {
		return nil, errSteps
	}
	var steps []step
	for b = b[1:]; len(b) > 0; {
		s := step{kind: stepKind(b[0])}
		if s.kind != atomicPhase && s.kind != foreignCall && s.kind != inDoubt {
			return nil, errSteps
		}
		b = b[1:]
		var name []byte
		for _, field := range []*[]byte{&name, &s.result} {
			length, n := binary.Uvarint(b)
			if n <= 0 || length > uint64(len(b)-n) {
				return nil, errSteps
			}
			b = b[n:]
			*field, b = b[:length:length], b[length:] // without the spare room that is the next one's
		}
		s.name = string(name)
		if s.kind == inDoubt && len(b) > 0 {
			return nil, errSteps
		}
		steps = append(steps, s)
	}
	return steps, nil
}
