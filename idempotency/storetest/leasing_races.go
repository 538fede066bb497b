package storetest

import (
	"errors"
	"fmt"
	"sync"

	"github.com/onlyonce/onlyonce/idempotency"
)

var lendingRaces = []test{
	{"Of many that ask at once, one owns the key at a time, and one record is stored", func(s *scenario) {
		store, peer := s.lenders()
		for round := range 10 {
			k := idempotency.Key{Scope: "alice", Value: fmt.Sprint("round-", round)}
			expired := round%2 == 1
			if expired { // what is over is taken over by one
				_ = s.borrow(store, k, "paid", 1)
				s.endLease(k)
			}
			var mu sync.Mutex
			var owners []idempotency.OwnerToken
			var group sync.WaitGroup
			for i := range 16 {
				lender := []idempotency.Leaser{store, peer}[i%2]
				group.Go(func() {
					t := terms("paid")
					lease, found, err := lender.Acquire(s.ctx, k, t)
					switch {
					case lease != nil:
						mu.Lock()
						owners = append(owners, t.Owner)
						mu.Unlock()
					case found != nil || !errors.Is(err, idempotency.ErrInProgress):
						s.Errorf("Acquire = (%v, %v), want a lease or ErrInProgress", found, err)
					}
				})
			}
			group.Wait()
			if len(owners) != 1 {
				s.Fatalf("round %d: %d owners at once, want 1", round, len(owners))
			}
			s.settle(peer, k, owners[0], "paid")
		}
	}},
	{"Of an owner that comes back and one that takes over, one stores its record", func(s *scenario) {
		store, peer := s.lenders()
		for round := range 20 {
			k := idempotency.Key{Scope: "alice", Value: fmt.Sprint("round-", round)}
			owner := s.borrow(store, k, "", 1)
			s.endLease(k)
			var group sync.WaitGroup
			var late error
			group.Go(func() { _, late = store.Settle(s.ctx, k, owner, record("late"), retention) })
			lease, found, err := peer.Acquire(s.ctx, k, terms(""))
			group.Wait()
			switch {
			case late == nil && err == nil && found != nil:
				same(s.T, "what stands", found, record("late"))
			case errors.Is(late, idempotency.ErrLeaseLost) && err == nil && lease != nil:
				s.wantRefused(store, k, "", idempotency.ErrInProgress)
			case late == nil && errors.Is(err, idempotency.ErrInProgress): // it had read the row before
			default:
				s.Fatalf("round %d: Settle = %v, Acquire = (%v, %v, %v)", round, late, lease, found, err)
			}
		}
	}},
}
