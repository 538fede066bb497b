package idempotency

import "sync"

// flights lets the duplicates of a key that reach one process meet in memory: one of them, the leader, goes to the store,
// and the others learn from it. So a herd holds one connection, however large it is.
type flights struct {
	mu    sync.Mutex
	byKey map[Key]*flight
}

// flight is one leader's way from claim to outcome. Its fields are guarded by flights.mu.
type flight struct {
	running bool          // the leader's handler runs
	landed  bool          // the leader is done
	record  *Record       // landed: what is stored, or nil
	err     error         // landed without a record: what the others would be told as well, or nil
	changed chan struct{} // closed at the next change; made by the first who waits
}

// join returns the flight of key, and whether the caller is its leader. A leader must call land.
func (fs *flights) join(key Key) (f *flight, leader bool) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f, ok := fs.byKey[key]; ok {
		return f, false
	}
	f = &flight{}
	fs.byKey[key] = f
	return f, true
}

// takeOff says that the handler runs: from here on the others either wait for it or are turned away.
func (fs *flights) takeOff(f *flight) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	f.running = true
	f.change()
}

// land ends the flight. With neither a record nor an error the next duplicate leads a flight of its own.
func (fs *flights) land(key Key, f *flight, record *Record, err error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	delete(fs.byKey, key)
	f.landed, f.record, f.err = true, record, err
	f.change()
}

func (f *flight) change() {
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
}

// look returns a copy of the flight as it is now, and a channel that is closed when it changes.
func (fs *flights) look(f *flight) flight {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if !f.landed && f.changed == nil {
		f.changed = make(chan struct{})
	}
	return *f
}
