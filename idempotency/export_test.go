package idempotency

import (
	"sync/atomic"
	"time"
)

// Followers reports whether somebody waits for the flight of key.
func (e *Engine) Followers(key Key) bool {
	e.flights.mu.Lock()
	defer e.flights.mu.Unlock()
	f := e.flights.byKey[key]
	return f != nil && f.changed != nil
}

// OccupyWaiters takes n of the places of those that wait.
func (e *Engine) OccupyWaiters(n int) { e.waiters.Add(int64(n)) }

// Waiters returns how many requests wait.
func (e *Engine) Waiters() int { return int(e.waiters.Load()) }

// Scopes returns for how many scopes operations are counted as running.
func (e *Engine) Scopes() int {
	e.scopes.mu.Lock()
	defer e.scopes.mu.Unlock()
	return len(e.scopes.running)
}

// Clock is an engine's clock that is moved by hand: Awake, as time passes; Asleep, as it does while the machine is suspended.
type Clock struct{ awake, asleep atomic.Int64 }

func (c *Clock) Awake(d time.Duration)  { c.awake.Add(int64(d)) }
func (c *Clock) Asleep(d time.Duration) { c.asleep.Add(int64(d)) }

// SetClock makes clock the engine's, by which it tells how old a cached record is.
func (e *Engine) SetClock(clock *Clock) {
	e.clock = func(time.Time) instant {
		return instant{clock.awake.Load(), clock.awake.Load() + clock.asleep.Load()}
	}
}

// Passed is how much time has passed, for those who are not suspended.
func (c *Clock) Passed() time.Duration { return time.Duration(c.awake.Load()) }
