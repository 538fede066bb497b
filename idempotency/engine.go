package idempotency

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// Engine runs handlers once per key. It is safe for concurrent use; a process needs one per store and configuration.
type Engine struct {
	store  Store
	config Config
	// identities is store, where that asks whose claim it is; else nil.
	identities IdentityClaimer
	flights    flights
	recent     *recent
	waiters    atomic.Int64 // requests that wait for another one
	scopes     scopes
	clock      func(time.Time) instant
	// observed is whether anybody is told of events.
	observed bool
}

// New returns an Engine over store, or an error that says what is wrong with config, or with the two together. It opens no connection
// and starts no goroutine.
func New(store Store, config Config) (*Engine, error) {
	if store == nil {
		return nil, errors.New("idempotency: New needs a store: pass pgstore.New(pool), or memstore.New for tests")
	}
	observed := config.Observer != nil
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	if config.RequireTransactional {
		if err := checkTransactional(store); err != nil {
			return nil, err
		}
	}
	identities, _ := store.(IdentityClaimer)
	return &Engine{
		store: store, identities: identities, config: config, recent: newRecent(), clock: instantOf, observed: observed,
		flights: flights{byKey: map[Key]*flight{}}, scopes: scopes{running: map[string]int{}},
	}, nil
}

// MaxResponseBytes returns the largest body that a response may have.
func (e *Engine) MaxResponseBytes() int { return e.config.MaxResponseBytes }

// Reruns returns how often a handler may be run again: an adapter whose framework cannot run it twice by itself prepares for that.
func (e *Engine) Reruns() int { return e.config.Reruns }

// Request is what is asked to happen once.
type Request struct {
	Key Key
	// Fingerprint tells this request from another one that carries the same key, which is answered with [ErrKeyReused].
	// All requests with the zero Fingerprint are the same: for keys that name their content, as a message id does.
	Fingerprint Fingerprint
	// Matches is asked about a stored fingerprint that differs from Fingerprint, so that a recipe can change while keys
	// are alive ([Fingerprinter.Matches]). May be nil.
	Matches func(stored Fingerprint) bool
	// Describe returns what the completer makes the request of, should it be left at a recovery point. It is called before the
	// first one is stored, and not at all for a handler without. nil: nothing is stored, and the key must say enough.
	Describe func() ([]byte, error)
	// SharesResponse says that the caller does not change the slices of the response that it gets, and lets nobody else do so. A
	// replay out of [Config.Cache] is not copied then.
	SharesResponse bool
}

// Handler does the work. Its ctx outlives the client, is bounded by Config.HandlerTimeout, and carries what the store gives
// (pgstore.Tx). It may be called again, with a new transaction, when Config.Reruns allows it.
type Handler func(ctx context.Context) (Response, error)

// Result is how a request was answered.
type Result struct {
	Response Response
	// Replayed reports that the response was stored by an earlier request, or by another one at the same time.
	Replayed bool
}

// Run answers request: with the stored response if its key is completed, else by running handler once and committing its
// writes and its response as one. It runs in the caller's goroutine. Nothing may be sent to the client before Run returns.
//
// A handler's own error is returned as it is, after its writes were rolled back. Other errors are *Error: see the sentinels.
// When handler panics, its writes are rolled back, the key is free, and the panic goes on.
func (e *Engine) Run(ctx context.Context, request Request, handler Handler) (Result, error) {
	started := time.Now()
	if err := request.Key.Check(); err != nil {
		return Result{}, err
	}
	if running(ctx) {
		return Result{}, ErrNested
	}
	if e.config.Cache != nil {
		if result, err, ok := e.replayCached(ctx, &request, started); ok {
			return result, err
		}
	}
	call := call{Engine: e, request: request, handler: handler, started: started, resumption: resumptionOf(ctx, request.Key)}
	for {
		f, leader := e.flights.join(request.Key)
		if leader {
			return call.lead(ctx, f)
		}
		result, err, again := call.follow(ctx, f)
		if !again {
			return result, err
		}
	}
}

// RunWithoutKey runs handler in a plain transaction with the same outcome policy, and stores nothing: for routes where the
// key is optional, so that a handler reads the same with and without one.
func (e *Engine) RunWithoutKey(ctx context.Context, handler Handler) (Result, error) {
	if running(ctx) {
		return Result{}, ErrNested
	}
	call := call{Engine: e, handler: handler, started: time.Now(), keyless: true}
	attempt, err := e.store.Begin(ctx)
	if err != nil {
		return Result{}, call.failed(ctx, err)
	}
	result, _, err := call.execute(ctx, attempt)
	return result, err
}

// call is one request on its way through the engine.
type call struct {
	*Engine
	request Request
	handler Handler
	started time.Time
	keyless bool
	full    bool // Config.MaxPendingPerScope has ended the run: the request's duplicates would be told so, too
	// resumption is set if the request is the completer's.
	resumption *resumption
}

func (c *call) observe(ctx context.Context, kind EventKind, status int, err error) {
	c.config.Observer(ctx, Event{Kind: kind, Scope: c.request.Key.Scope, Status: status, Duration: time.Since(c.started), Err: err})
}

func discard(context.Context, Event) {}

// failed reports err as an event, once, and returns it as the client shall get it.
func (c *call) failed(ctx context.Context, err error) error {
	kind := Failed
	switch {
	case errors.Is(err, ErrInProgress):
		kind = Conflicted
	case errors.Is(err, ErrTooManyPending):
		kind = Limited
	case errors.Is(err, ErrKeyReused):
		c.observe(ctx, Reused, ErrKeyReused.Code.Status(), nil)
		return AsError(err)
	}
	e := AsError(err)
	c.observe(ctx, kind, e.Code.Status(), e)
	return e
}

// lead goes to the store for everybody who came with the same key.
func (c *call) lead(ctx context.Context, f *flight) (result Result, err error) {
	var stored *Record
	var shared error
	defer func() { c.flights.land(c.request.Key, f, stored, shared) }()

	attempt, stored, err := c.claim(ctx)
	if err != nil {
		if ctx.Err() == nil && !errors.Is(err, ErrKeyReused) { // that is about this request, and not about those that came with it
			shared = err
		}
		return Result{}, c.failed(ctx, err)
	}
	if stored != nil {
		return c.replay(ctx, stored)
	}
	if err := c.resumable(ctx, attempt); err != nil {
		return Result{}, err
	}
	if c.config.MaxPendingPerScope > 0 {
		if err := c.admit(ctx, attempt); err != nil {
			shared = err
			return Result{}, c.failed(ctx, err)
		}
		defer c.scopes.leave(c.request.Key.Scope)
	}
	c.flights.takeOff(f)
	result, stored, err = c.execute(ctx, attempt)
	if c.full {
		shared = err
	}
	return result, err
}

// follow learns from the leader's flight. again says that it ended without an answer, so that somebody else must lead.
func (c *call) follow(ctx context.Context, f *flight) (result Result, err error, again bool) {
	var patience <-chan time.Time
	waiting := false
	defer func() {
		if waiting {
			c.unwait()
		}
	}()
	for {
		now := c.flights.look(f)
		switch {
		case now.landed && now.record != nil:
			result, err = c.replay(ctx, now.record)
			return result, err, false
		case now.landed && errors.Is(now.err, ErrInProgress) && c.left() > 0:
			return Result{}, nil, true
		case now.landed && now.err != nil:
			return Result{}, c.failed(ctx, now.err), false
		case now.landed:
			return Result{}, nil, true
		case now.running && patience == nil:
			left := c.left()
			if left <= 0 {
				return Result{}, c.failed(ctx, ErrInProgress), false
			}
			timer := time.NewTimer(left)
			defer timer.Stop()
			patience = timer.C
		}
		if !waiting {
			if err := c.wait(); err != nil {
				return Result{}, c.failed(ctx, err), false
			}
			waiting = true
		}
		select {
		case <-now.changed:
		case <-patience:
			return Result{}, c.failed(ctx, ErrInProgress), false
		case <-ctx.Done():
			return Result{}, ErrInProgress.Because(context.Cause(ctx)), false
		}
	}
}

// claim asks the store for the key, and goes on asking while another process works on it and the request may wait.
func (c *call) claim(ctx context.Context) (Attempt, *Record, error) {
	if c.recent.has(c.request.Key) {
		if record, err := c.lookUp(ctx, c.request.Key); record != nil || err != nil {
			return nil, record, err
		}
	}
	attempt, record, err := c.ask(ctx)
	if errors.Is(err, ErrInProgress) && c.left() > 0 {
		return c.poll(ctx)
	}
	return attempt, record, err
}

// replay answers with a stored record, if it belongs to this request.
func (c *call) replay(ctx context.Context, record *Record) (Result, error) {
	c.recent.add(c.request.Key)
	c.settled()
	if !c.request.isSame(record.Fingerprint) {
		c.observe(ctx, Reused, ErrKeyReused.Code.Status(), nil)
		return Result{}, ErrKeyReused
	}
	c.observe(ctx, Replayed, record.Response.Status, nil)
	return Result{Response: record.Response, Replayed: true}, nil
}

func (r *Request) identity() Identity { return Identity{r.Fingerprint, r.Matches} }

// isSame reports whether a stored fingerprint is that of this request.
func (r *Request) isSame(stored Fingerprint) bool {
	return r.identity().Is(stored)
}

// execute runs the handler under attempt, and again under a new one while the database asks for that and Config.Reruns allows
// it. The record it returns is what is stored now, or nil.
func (c *call) execute(ctx context.Context, attempt Attempt) (Result, *Record, error) {
	for runs := 0; ; runs++ {
		result, record, err := c.once(ctx, attempt)
		if !errors.Is(err, ErrTransactionConflict) || runs >= c.config.Reruns {
			return result, record, err
		}
		if c.keyless {
			attempt, err = c.store.Begin(context.WithoutCancel(ctx))
		} else if attempt, record, err = c.claim(context.WithoutCancel(ctx)); record != nil {
			result, err = c.replay(ctx, record)
			return result, record, err
		}
		if err == nil && !c.keyless {
			if err := c.resumable(ctx, attempt); err != nil {
				return Result{}, nil, err
			}
		}
		if err != nil {
			return Result{}, nil, c.failed(ctx, err)
		}
	}
}

// once runs the handler once and ends the attempt by what came of it.
func (c *call) once(ctx context.Context, attempt Attempt) (Result, *Record, error) {
	// The client's context ends with the client. What has begun is finished and stored all the same, and the retry is a
	// replay: neither the handler nor the commit may see that context.
	detached := context.WithoutCancel(ctx)
	run := newRun(detached, c, attempt)
	defer func() {
		run.end()
		if !run.ended {
			c.abandon(run)
		}
	}()
	if !c.keyless {
		c.observe(run, Claimed, 0, nil)
	}
	if err := c.resume(run, attempt); err != nil {
		return Result{}, nil, c.failed(detached, errors.Join(err, run.release()))
	}
	response, err := c.handler(attempt.Context(run))
	if err == nil {
		err = c.tooLarge(response)
	}
	outcome := c.config.Policy(response, err)
	if err != nil && outcome == Refuse && c.tooLarge(response) != nil {
		err = ErrResponseTooLarge
	}
	if errors.Is(err, ErrResponseTooLarge) {
		outcome = Release // there is nothing to keep, and what is not kept must not have happened
	} else if err != nil && outcome == Complete {
		outcome = 0 // there is no response that a retry could get
	}

	chain, broken := run.returned()
	if chain != nil {
		broken = chain.end(outcome)
	}
	if broken != nil {
		c.full = broken == error(errPending)
		return c.broken(run, broken)
	}
	switch outcome {
	case Complete, Refuse:
		return c.settle(run, outcome, response, err)
	case Release:
		return c.release(run, response, err)
	}
	return c.broken(run, fmt.Errorf("idempotency: Config.Policy returned outcome %d: return Complete (not for an error), Refuse or Release", outcome))
}

// tooLarge returns an error if the response is over the limits of what is stored.
func (c *call) tooLarge(response Response) error {
	if len(response.Body) > c.config.MaxResponseBytes || len(response.Header) > c.config.MaxResponseHeaderBytes {
		return ErrResponseTooLarge
	}
	return nil
}
