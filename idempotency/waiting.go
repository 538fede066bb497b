package idempotency

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// A request waits where another one works on its key: a follower for its leader, in this process, and a leader for another process.
// A wait holds no connection, but a goroutine, the client's connection and the request's body, so that there is an end to how many
// there are.

var errWaiters = ErrInProgress.Because(errors.New("idempotency: as many requests as Config.MaxWaiters allows are waiting already"))

// wait takes a place among those that wait, for which unwait must follow, or fails because there is none.
func (e *Engine) wait() error {
	for {
		n := e.waiters.Load()
		if n >= int64(e.config.MaxWaiters) {
			return errWaiters
		}
		if e.waiters.CompareAndSwap(n, n+1) {
			return nil
		}
	}
}

func (e *Engine) unwait() { e.waiters.Add(-1) }

// left returns how long the request may still wait for another attempt.
func (c *call) left() time.Duration { return c.config.Wait - time.Since(c.started) }

// poll claims a key that another process works on, again and again while the request may wait. No connection is held between two
// asks.
func (c *call) poll(ctx context.Context) (Attempt, *Record, error) {
	if err := c.wait(); err != nil {
		return nil, nil, err
	}
	defer c.unwait()
	for pause := 400 * time.Microsecond; ; pause = min(pause*3/2, 100*time.Millisecond) {
		// Half of the pause is drawn, so that waiting processes do not ask in step.
		timer := time.NewTimer(min(max(c.left(), 0), pause/2+rand.N(pause)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, nil, ErrInProgress.Because(context.Cause(ctx))
		}
		attempt, record, err := c.ask(ctx)
		if !errors.Is(err, ErrInProgress) || c.left() <= 0 {
			return attempt, record, err
		}
	}
}
