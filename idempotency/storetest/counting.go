package storetest

import "github.com/onlyonce/onlyonce/idempotency"

var counting = []test{
	{"The pending keys of a scope are counted, and no others", func(s *scenario) {
		bob := idempotency.Key{Scope: "bob", Value: "payment-1"}
		s.wantCounted(key, 0)
		s.chain(s.Store, s.numbered(1)).step("one", progress("one", 1)) // leased
		s.yielded(s.numbered(2), progress("one", 1))                    // due
		stuck := progress("one", 9)
		stuck.Completions = idempotency.Held
		s.yielded(s.numbered(3), stuck)
		s.complete(s.Store, s.numbered(4), "completed")
		claimed := s.chain(s.Peer, s.numbered(5)) // it may still come to nothing
		s.yielded(bob, progress("one", 1))
		s.wantCounted(key, 3)
		s.wantCounted(idempotency.Key{Scope: "bob", Value: "another"}, 1)
		s.wantCounted(idempotency.Key{Scope: "ali", Value: "another"}, 0)
		claimed.release()

		s.complete(s.Store, s.numbered(2), "completed after all")
		s.yielded(s.numbered(3), progress("two", 10)) // once more, and not twice
		s.wantCounted(key, 2)
		s.endLease(s.numbered(1))
		s.complete(s.Peer, s.numbered(1), "completed after all")
		s.complete(s.Peer, s.numbered(3), "completed after all")
		s.wantCounted(key, 0)
	}},
	{"An attempt that has counted goes on", func(s *scenario) {
		s.wantCounted(key, 0)
		w := s.chain(s.Store, key)
		for range 2 {
			w.begin()
			w.count(10, 0)
		}
		w.write("one")
		w.save(progress("one", 1))
		s.wantEffects("one", 1)
		s.wantCounted(s.numbered(1), 1)
		foreign := s.chain(s.Store, s.numbered(2))
		foreign.begin()
		foreign.count(10, 1)
		foreign.detach(progress("", 1))
		s.wantCounted(s.numbered(1), 2)
		s.wantRecord(key, w.complete("done"))
	}},
}

// wantCounted checks, by an attempt at key in each view, how many keys of its scope are pending, and that the count has an end.
func (s *scenario) wantCounted(key idempotency.Key, want int) {
	s.Helper()
	for _, store := range []idempotency.Store{s.Store, s.Peer} {
		w := s.chain(store, key)
		for _, limit := range []int{1, 2, 100} {
			w.begin()
			w.count(limit, min(want, limit))
		}
		w.release()
	}
}

// count counts the pending keys of the worker's scope. A test on a store that cannot ends here.
func (w *worker) count(limit, want int) {
	w.scenario.Helper()
	counter, ok := w.Chain.(idempotency.PendingCounter)
	if !ok {
		_ = w.Release(w.scenario.ctx)
		w.scenario.Skip("the store does not count its pending keys")
	}
	if got, err := counter.CountPending(w.scenario.ctx, limit); err != nil || got != want {
		w.scenario.Fatalf("CountPending up to %d = (%d, %v), want %d", limit, got, err, want)
	}
}
