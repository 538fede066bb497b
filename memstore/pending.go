package memstore

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
)

var (
	_ idempotency.Recoverer     = (*Store)(nil)
	_ idempotency.Transactional = (*Store)(nil)
)

// Pending lists, oldest first, the pending keys that are due. It looks at every pending key.
func (s *Store) Pending(_ context.Context, due idempotency.Due) (idempotency.PendingKeys, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	type entry struct {
		idempotency.Pending
		order uint64
	}
	var list []entry
	var found idempotency.PendingKeys
	now := s.config.Now()
	for key, row := range s.pending {
		tried := row.progress.Completions
		switch {
		case now.Before(row.leased):
		case tried >= due.MaxCompletions:
			found.Stuck++
		case !now.Before(row.leased.Add(pause(due, tried))):
			list = append(list, entry{idempotency.Pending{Key: key, Progress: row.progress}, row.order})
		}
	}
	slices.SortFunc(list, func(a, b entry) int { return cmp.Compare(a.order, b.order) })
	for _, e := range list[:min(len(list), due.Limit)] {
		found.Keys = append(found.Keys, e.Pending)
	}
	return found, nil
}

// pause returns how long the completer waits after its n-th attempt.
func pause(due idempotency.Due, n int) time.Duration {
	if n == 0 {
		return 0
	}
	wait := min(due.Backoff, due.MaxBackoff)
	for range n - 1 {
		if wait > due.MaxBackoff/2 {
			return due.MaxBackoff
		}
		wait *= 2
	}
	return wait
}

// CountPending returns how many keys of the attempt's scope are pending.
func (a *attempt) CountPending(_ context.Context, limit int) (int, error) {
	a.store.mu.Lock()
	defer a.store.mu.Unlock()
	return min(a.store.scopes[a.key.Scope], limit), nil
}
