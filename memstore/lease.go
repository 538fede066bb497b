package memstore

import (
	"bytes"
	"context"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
)

var _ idempotency.Leaser = (*Store)(nil)

// loan is the row of a key that is lent.
type loan struct {
	fingerprint idempotency.Fingerprint
	owner       idempotency.OwnerToken
	attempt     int
	remember    time.Duration
	leased      time.Time // until then
}

func loanSize(key idempotency.Key) int { return overhead + len(key.Scope) + len(key.Value) }

// Acquire lends key. It looks at no lock but the store's own.
func (s *Store) Acquire(ctx context.Context, key idempotency.Key, terms idempotency.Terms) (*idempotency.Lease, *idempotency.Record, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, nil, idempotency.ErrStoreUnavailable.Because(err)
	}
	if err := terms.Check(); err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if record := s.find(key); record != nil {
		if !terms.Admits(record.Fingerprint) {
			return nil, nil, idempotency.ErrKeyReused
		}
		return nil, record, nil
	}
	if s.working[key] != nil || s.pending[key] != nil {
		return nil, nil, idempotency.ErrInProgress
	}
	attempt, fingerprint := 1, terms.Fingerprint
	if l := s.lent[key]; l != nil {
		own := l.owner == terms.Owner
		if !own && s.config.Now().Before(l.leased) {
			return nil, nil, idempotency.ErrInProgress
		}
		if !terms.Admits(l.fingerprint) {
			return nil, nil, idempotency.ErrKeyReused
		}
		if attempt = l.attempt; !own {
			attempt++
		}
		if fingerprint == (idempotency.Fingerprint{}) {
			fingerprint = l.fingerprint
		}
	} else {
		if err := s.room(); err != nil {
			return nil, nil, err
		}
		s.bytes += loanSize(key)
	}
	s.lent[key] = &loan{fingerprint, terms.Owner, attempt, terms.Remember, s.config.Now().Add(terms.Lease)}
	return &idempotency.Lease{Attempt: attempt}, nil, nil
}

// Settle ends the loan with a record.
func (s *Store) Settle(_ context.Context, key idempotency.Key, owner idempotency.OwnerToken, record *idempotency.Record, retention time.Duration) (again bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.owned(key, owner)
	if l == nil {
		if k := s.kept[key]; k != nil && s.find(key) != nil && k.owner == owner && same(k.record, record) {
			return true, nil
		}
		return false, idempotency.ErrLeaseLost
	}
	s.end(key)
	if record.Fingerprint == (idempotency.Fingerprint{}) {
		record = &idempotency.Record{Fingerprint: l.fingerprint, Response: record.Response}
	}
	s.keep(&kept{key: key, record: record, owner: owner, expires: s.config.Now().Add(retention)})
	return false, nil
}

// same reports whether settled is what was stored. Without a fingerprint it has that of its claim.
func same(stored, settled *idempotency.Record) bool {
	return (settled.Fingerprint == stored.Fingerprint || settled.Fingerprint == idempotency.Fingerprint{}) &&
		stored.Response.Status == settled.Response.Status &&
		bytes.Equal(stored.Response.Header, settled.Response.Header) && bytes.Equal(stored.Response.Body, settled.Response.Body)
}

// Extend moves the end of the lease.
func (s *Store) Extend(_ context.Context, key idempotency.Key, owner idempotency.OwnerToken, lease time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.owned(key, owner)
	if l == nil {
		return idempotency.ErrLeaseLost
	}
	l.leased = s.config.Now().Add(lease)
	return nil
}

// Free ends the loan as if it had not been.
func (s *Store) Free(_ context.Context, key idempotency.Key, owner idempotency.OwnerToken) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.owned(key, owner)
	switch {
	case l == nil:
		return idempotency.ErrLeaseLost
	case l.attempt == 1:
		s.end(key)
	default: // an earlier owner's outcome is not known
		l.attempt--
		l.owner, l.leased = idempotency.OwnerToken{}, s.config.Now()
	}
	return nil
}

// owned returns the loan of key if it is owner's.
func (s *Store) owned(key idempotency.Key, owner idempotency.OwnerToken) *loan {
	if l := s.lent[key]; l != nil && l.owner == owner && owner != (idempotency.OwnerToken{}) {
		return l
	}
	return nil
}

// end forgets the loan of key.
func (s *Store) end(key idempotency.Key) {
	delete(s.lent, key)
	s.bytes -= loanSize(key)
}

// reapLent deletes lent keys that nobody has ended in time. It looks at each that there is.
func (s *Store) reapLent(limit int) (deleted int) {
	now := s.config.Now()
	for key, l := range s.lent {
		if deleted >= limit {
			break
		}
		if !now.Before(l.leased.Add(l.remember)) {
			s.end(key)
			deleted++
		}
	}
	return deleted
}
