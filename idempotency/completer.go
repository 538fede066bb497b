package idempotency

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// Resume makes the request of a pending key again, through the very handler that began it: nethttp.Resume and
// idempotencyecho.Resume return one for HTTP handlers, and for [Do] it unmarshals pending.Request and calls Do with pending.Key. It
// must pass ctx on. Its error is kept with the key where the request did not reach the engine, and ignored otherwise.
type Resume func(ctx context.Context, pending Pending) error

// CompleterConfig configures a [Completer]. The zero value works; [NewCompleter] copies it.
type CompleterConfig struct {
	// Interval is the time between two passes of [Completer.Run]. Default: 5 seconds.
	Interval time.Duration
	// DesiredConcurrency is how many keys are resumed at a time. Each may hold a connection. Default: 4.
	DesiredConcurrency int
	// Batch is how many keys one pass takes on. Default: 100.
	Batch int
	// Budget is for how long one pass begins to resume keys. What it has begun it ends. Default: 1 minute.
	Budget time.Duration
	// MaxAttempts is how often the completer tries one key before it gives up. The key stays pending then, with the last
	// error beside it, and is reported as Stuck; a client's retry still resumes it. Default: 20.
	MaxAttempts int
	// Backoff is the pause after the completer's first attempt at a key, which doubles with each further one up to
	// MaxBackoff. Defaults: 1 second, and 10 minutes.
	Backoff, MaxBackoff time.Duration
}

// Completer carries the keys that were left at a recovery point to their end: nobody may come back for them.
type Completer struct {
	engine *Engine
	store  Recoverer
	resume Resume
	config CompleterConfig

	slots chan struct{} // one for each key that is being resumed
	mu    sync.Mutex
	busy  map[Key]struct{} // which those are
}

// NewCompleter returns a Completer for the keys of engine's store, or an error that says what is wrong. It starts no goroutine.
func NewCompleter(engine *Engine, resume Resume, config CompleterConfig) (*Completer, error) {
	if engine == nil || resume == nil {
		return nil, errors.New("idempotency: NewCompleter needs an engine and a Resume: see nethttp.Resume")
	}
	store, ok := engine.store.(Recoverer)
	if !ok {
		return nil, fmt.Errorf("idempotency: NewCompleter: %T cannot list its pending keys: use pgstore", engine.store)
	}
	var wrong []error
	for _, setting := range []struct {
		name  string
		value *time.Duration
		def   time.Duration
	}{
		{"Interval", &config.Interval, 5 * time.Second},
		{"Budget", &config.Budget, time.Minute},
		{"Backoff", &config.Backoff, time.Second},
		{"MaxBackoff", &config.MaxBackoff, 10 * time.Minute},
	} {
		if *setting.value == 0 {
			*setting.value = setting.def
		}
		if *setting.value < 0 {
			wrong = append(wrong, fmt.Errorf("idempotency: CompleterConfig.%s is %v: give a positive duration, or 0 for the default", setting.name, *setting.value))
		}
	}
	for _, setting := range []struct {
		name  string
		value *int
		def   int
	}{
		{"DesiredConcurrency", &config.DesiredConcurrency, 4},
		{"Batch", &config.Batch, 100},
		{"MaxAttempts", &config.MaxAttempts, 20},
	} {
		if *setting.value == 0 {
			*setting.value = setting.def
		}
		if *setting.value < 0 {
			wrong = append(wrong, fmt.Errorf("idempotency: CompleterConfig.%s is %d: give a positive number, or 0 for the default", setting.name, *setting.value))
		}
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, err
	}
	return &Completer{
		engine: engine, store: store, resume: resume, config: config,
		slots: make(chan struct{}, config.DesiredConcurrency), busy: map[Key]struct{}{},
	}, nil
}

// Pass is what one pass of the completer did.
type Pass struct {
	// Found is the number of keys that were due.
	Found int
	// Completed is the number of those that have their response now.
	Completed int
	// Pending is the number of those that do not yet: another attempt was at work, or theirs failed.
	Pending int
	// Stuck is the number of keys that the completer has given up.
	Stuck int
}

// Run makes a pass now and then every CompleterConfig.Interval until ctx ends, ends what it has begun, and returns ctx's error.
// Run it in a goroutine of every process: a key is worked on by one of them at a time.
func (c *Completer) Run(ctx context.Context) error {
	return every(ctx, c.config.Interval, func() { _, _ = c.Pass(ctx) }) // what fails goes to the observer, and the next pass tries again
}

// Pass resumes the keys that are due, once each, and waits for them: for Config.HandlerTimeout and a lease, by which every handler
// has returned that heeds its context. When ctx ends it begins no more of them. Passes may overlap. An error says that keys, or some
// of them, could not be listed; the pass is over those that could.
func (c *Completer) Pass(ctx context.Context) (Pass, error) {
	started := time.Now()
	due, err := c.store.Pending(ctx, Due{
		Limit: c.config.Batch, MaxCompletions: c.config.MaxAttempts, Backoff: c.config.Backoff, MaxBackoff: c.config.MaxBackoff,
	})
	observe := c.engine.config.Observer
	if err != nil {
		if ctx.Err() == nil {
			observe(ctx, Event{Kind: Failed, Duration: time.Since(started), Err: AsError(err)})
		}
		err = AsError(err)
		if len(due.Keys) == 0 {
			return Pass{Stuck: due.Stuck}, err
		}
	}
	if due.Stuck > 0 {
		observe(ctx, Event{Kind: Stuck, Count: due.Stuck, Duration: time.Since(started)})
	}
	// In another order than the other processes, which found the same keys.
	rand.Shuffle(len(due.Keys), func(i, j int) { due.Keys[i], due.Keys[j] = due.Keys[j], due.Keys[i] })

	pass := Pass{Found: len(due.Keys), Stuck: due.Stuck}
	began := 0
	ended := make(chan bool, len(due.Keys)) // for those, too, that nobody waits for any more
	begins, cancel := context.WithTimeout(ctx, c.config.Budget)
	defer cancel()
	for _, pending := range due.Keys {
		if !c.begin(begins, pending.Key) {
			continue
		}
		began++
		go func() {
			settled := false
			defer func() { // also when Resume calls runtime.Goexit
				c.end(pending.Key)
				ended <- settled
			}()
			settled = c.one(ctx, pending)
		}()
	}
	// A handler that does not heed its context keeps its slot, and not the other keys.
	patience := time.NewTimer(c.engine.config.HandlerTimeout + c.engine.config.Lease)
	defer patience.Stop()
	for range began {
		select {
		case settled := <-ended:
			if settled {
				pass.Completed++
			}
			continue
		case <-patience.C:
		}
		break
	}
	pass.Pending = pass.Found - pass.Completed
	return pass, err
}

// begin waits for a free slot and takes it for key, unless ctx ends or the key is being worked on here already.
func (c *Completer) begin(ctx context.Context, key Key) bool {
	c.mu.Lock()
	_, busy := c.busy[key]
	c.mu.Unlock()
	if busy || ctx.Err() != nil {
		return false
	}
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	if ctx.Err() != nil {
		<-c.slots
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy[key] = struct{}{}
	return true
}

func (c *Completer) end(key Key) {
	c.mu.Lock()
	delete(c.busy, key)
	c.mu.Unlock()
	<-c.slots
}

// one resumes one key, and reports whether it is completed now.
func (c *Completer) one(ctx context.Context, pending Pending) bool {
	r := &resumption{pending: &pending}
	// What has begun is ended: stopping the completer must not look like a failure of the handler.
	ctx = context.WithoutCancel(ctx)
	missed := errPanicked
	defer func() { // also when Resume calls runtime.Goexit
		if missed != nil && !r.reached && !r.settled {
			c.count(ctx, pending, missed)
		}
	}()
	missed = c.call(context.WithValue(ctx, resumptionKey{}, r), &pending)
	return r.settled
}

// call calls Resume, and returns why the request did not reach the engine, if it should have. It keeps a panic of the handler, and of
// all else that is not ours, from ending the process: no server is around it here.
func (c *Completer) call(ctx context.Context, pending *Pending) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case error: // so that lastError can take a database's words out of it
			err = fmt.Errorf("idempotency: the handler panicked: %w", p)
		default:
			err = fmt.Errorf("idempotency: the handler panicked: %v", p)
		}
	}()
	if pending.Request, err = c.engine.openRequest(pending); err == nil {
		err = c.resume(ctx, *pending)
	}
	switch {
	case err == nil:
		return errors.New("idempotency: the request was answered before it reached the middleware: by a router, or by what asks for credentials (idempotency.Resuming)")
	case errors.Is(err, ErrInProgress):
		return nil // another attempt is at work
	}
	return err
}

// count counts an attempt that did not reach the engine, so that it backs off and ends like any other.
func (c *Completer) count(ctx context.Context, pending Pending, cause error) {
	lastError := c.engine.lastError(cause, 0) // before anything is held
	attempt, _, err := c.store.Claim(ctx, pending.Key)
	if err != nil || attempt == nil {
		return // another attempt is at work, or has completed it
	}
	chain, ok := attempt.(Chain)
	if !ok || chain.Progress() == nil {
		_ = attempt.Release(ctx)
		return
	}
	progress := *chain.Progress()
	if progress.Completions != pending.Completions { // another completer has tried meanwhile
		_ = attempt.Release(ctx)
		return
	}
	progress.Attempt++
	progress.Completions++
	progress.LastError = lastError
	if err := chain.Yield(ctx, progress); err == nil {
		err = cause
		c.engine.config.Observer(ctx, Event{Kind: Failed, Scope: pending.Key.Scope, Err: AsError(err)})
	}
}
