package idempotency

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
