package memstore

import (
	"container/heap"
	"fmt"
	"slices"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
)

// Expire ends the retention of one record, or the time for which a loan is remembered, as the passing of time would.
func Expire(s *Store, key idempotency.Key) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.lent[key]; l != nil {
		l.leased = time.Time{}
		return nil
	}
	k := s.kept[key]
	if k == nil {
		return fmt.Errorf("there is no record to expire")
	}
	k.expires = time.Time{}
	heap.Fix(&s.expiry, slices.Index(s.expiry, k))
	return nil
}

// EndLease ends the lease of one pending or lent key, as the passing of time would.
func EndLease(s *Store, key idempotency.Key) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.lent[key]; l != nil {
		l.leased = s.config.Now()
		return nil
	}
	row := s.pending[key]
	if row == nil {
		return fmt.Errorf("there is no pending key whose lease could end")
	}
	row.leased = s.config.Now()
	return nil
}
