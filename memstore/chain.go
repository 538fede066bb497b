package memstore

import (
	"context"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
)

// pending is the row of a key whose operation was begun and not ended.
type pending struct {
	progress idempotency.Progress
	order    uint64 // rows that were made later have a higher one
	owner    uint64
	leased   time.Time // until then
}

func (p *pending) size(key idempotency.Key) int {
	return overhead + len(key.Scope) + len(key.Value) +
		len(p.progress.RecoveryPoint) + len(p.progress.Steps) + len(p.progress.Request) + len(p.progress.LastError)
}

// hold is what an attempt knows of its key's row.
type hold struct {
	found *idempotency.Progress // nil if there was none when the attempt began
	owner uint64                // the token that must be in the row still
	mine  bool                  // it is this attempt's own
}

var _ idempotency.PendingCounter = (*attempt)(nil)

// takeOver starts an attempt at a pending key whose lease is over. It is not refused in a full store: its end makes room.
func (s *Store) takeOver(key idempotency.Key, row *pending) (idempotency.Attempt, *idempotency.Record, error) {
	if s.config.Now().Before(row.leased) {
		return nil, nil, idempotency.ErrInProgress
	}
	found := row.progress
	a := &attempt{kept: kept{key: key}, store: s, hold: &hold{found: &found, owner: row.owner}}
	s.working[key] = a
	return a, nil, nil
}

// put makes progress the row of key.
func (s *Store) put(key idempotency.Key, progress idempotency.Progress, owner uint64, lease time.Duration) {
	row := &pending{progress: progress, order: owner, owner: owner, leased: s.config.Now().Add(lease)}
	if old := s.pending[key]; old != nil {
		row.order = old.order
	}
	s.forget(key)
	s.pending[key] = row
	s.scopes[key.Scope]++
	s.bytes += row.size(key)
}

// forget drops the row of key.
func (s *Store) forget(key idempotency.Key) {
	if row := s.pending[key]; row != nil {
		s.bytes -= row.size(key)
		delete(s.pending, key)
		if s.scopes[key.Scope]--; s.scopes[key.Scope] == 0 {
			delete(s.scopes, key.Scope)
		}
	}
}

// compare reports whether the key is still the attempt's. One that another attempt works on is lost too, although that one has
// not written its token yet: it has read the row, and what is written to it now would be lost.
func (a *attempt) compare() error {
	s := a.store
	if other := s.working[a.key]; other != nil && other != a {
		return idempotency.ErrLeaseLost
	}
	if row := s.pending[a.key]; a.hold != nil && (row == nil || row.owner != a.hold.owner) {
		return idempotency.ErrLeaseLost
	}
	return nil
}

// Progress returns what earlier attempts have left.
func (a *attempt) Progress() *idempotency.Progress {
	if a.hold == nil {
		return nil
	}
	return a.hold.found
}

// Begin makes sure that the key is still the attempt's. There is no transaction that could tell what the handler has written.
func (a *attempt) Begin(context.Context) error {
	a.store.mu.Lock()
	defer a.store.mu.Unlock()
	if a.over {
		return errOver
	}
	if err := a.compare(); err != nil {
		return err
	}
	a.store.working[a.key] = a
	return nil
}

// Save keeps progress, and lets go of the key but for the lease.
func (a *attempt) Save(_ context.Context, progress idempotency.Progress, lease time.Duration) error {
	a.store.mu.Lock()
	defer a.store.mu.Unlock()
	if a.over {
		return errOver
	}
	return a.save(progress, lease)
}

// Detach is Save: there is no transaction to let go of.
func (a *attempt) Detach(ctx context.Context, progress idempotency.Progress, lease time.Duration) error {
	return a.Save(ctx, progress, lease)
}

func (a *attempt) save(progress idempotency.Progress, lease time.Duration) error {
	if err := a.compare(); err != nil {
		return err
	}
	if a.hold == nil {
		a.hold = &hold{}
	}
	if !a.hold.mine {
		a.store.tokens++
		a.hold.owner, a.hold.mine = a.store.tokens, true
	}
	a.store.put(a.key, progress, a.hold.owner, lease)
	a.unlock()
	return nil
}

// Undo ends a step. What the step did in memory stays: there is no transaction to roll back.
func (a *attempt) Undo(context.Context) error {
	a.store.mu.Lock()
	defer a.store.mu.Unlock()
	if a.over {
		return errOver
	}
	return nil
}

// Renew extends the lease.
func (a *attempt) Renew(_ context.Context, lease time.Duration) error {
	s := a.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.over {
		return errOver
	}
	row := s.pending[a.key]
	if a.hold == nil || row == nil || row.owner != a.hold.owner {
		return idempotency.ErrLeaseLost
	}
	row.leased = s.config.Now().Add(lease)
	return nil
}

// Yield keeps progress and ends the attempt and its lease.
func (a *attempt) Yield(_ context.Context, progress idempotency.Progress) error {
	a.store.mu.Lock()
	defer a.store.mu.Unlock()
	if err := a.end(); err != nil {
		return err
	}
	return a.save(progress, 0)
}
