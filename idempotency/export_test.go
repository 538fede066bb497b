package idempotency

// Followers reports whether somebody waits for the flight of key.
func (e *Engine) Followers(key Key) bool {
	e.flights.mu.Lock()
	defer e.flights.mu.Unlock()
	f := e.flights.byKey[key]
	return f != nil && f.changed != nil
}
