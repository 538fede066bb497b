package storetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
)

// anyDue is what a completer asks for that is never tired.
var anyDue = idempotency.Due{Limit: 100, MaxCompletions: 1 << 20, Backoff: time.Nanosecond, MaxBackoff: time.Nanosecond}

var listing = []test{
	{"The keys whose lease is over are listed, with all that the completer needs", func(s *scenario) {
		s.recoverer()
		s.wantListed(anyDue, 0)
		want := progress("one", 3)
		want.LastError = "the card network is down"
		s.yielded(key, want)
		found := s.pendingKeys(anyDue)
		if len(found.Keys) != 1 || found.Keys[0].Key != key || found.Stuck != 0 {
			s.Fatalf("Pending = %+v, want the one key", found)
		}
		s.sameProgress("Pending", found.Keys[0].Progress, want)
		s.wantPending(key, want)
	}},
	{"A key that is leased, completed or was never begun is not listed", func(s *scenario) {
		s.recoverer()
		s.chain(s.Store, s.numbered(1)).step("one", progress("one", 1))
		s.complete(s.Store, s.numbered(2), "completed")
		s.yielded(s.numbered(3), progress("one", 1))
		s.complete(s.Store, s.numbered(3), "completed after all")
		claimed := s.chain(s.Store, s.numbered(4))
		s.wantListed(anyDue, 0)
		claimed.release()
		s.endLease(s.numbered(1))
		s.wantListed(anyDue, 0, 1)
	}},
	{"The oldest keys come first, whoever tried them last, and up to the limit", func(s *scenario) {
		s.recoverer()
		for n := range 5 {
			s.yielded(s.numbered(n), progress("one", 1))
		}
		s.yielded(s.numbered(0), progress("one", 2))
		due := anyDue
		oldest := []int{0, 1, 2, 3, 4}
		for _, due.Limit = range []int{1, 3, 5, 6} {
			s.wantListed(due, 0, oldest[:min(due.Limit, len(oldest))]...)
		}
	}},
	{"A key that the completer has given up is counted, and not listed", func(s *scenario) {
		s.recoverer()
		for n, completions := range []int{0, 2, 3, 9} {
			p := progress("one", 9)
			p.Completions = completions
			s.yielded(s.numbered(n), p)
		}
		leased := progress("one", 9)
		leased.Completions = 9
		s.chain(s.Store, s.numbered(4)).step("one", leased)
		due := anyDue
		due.MaxCompletions = 3
		s.wantListed(due, 2, 0, 1)
		due.MaxCompletions = 10
		s.wantListed(due, 0, 0, 1, 2, 3)
	}},
	{"A key that the completer has tried waits longer each time, up to a bound", func(s *scenario) {
		s.recoverer()
		for n := range 4 {
			p := progress("one", 9)
			p.Completions = n
			s.yielded(s.numbered(n), p)
		}
		due := idempotency.Due{Limit: 100, MaxCompletions: 100, Backoff: time.Hour, MaxBackoff: 24 * time.Hour}
		s.wantListed(due, 0, 0)
		due.MaxBackoff = time.Nanosecond
		s.wantListed(due, 0, 0, 1, 2, 3)
		due.Backoff, due.MaxBackoff = time.Nanosecond, time.Hour
		s.wantListed(due, 0, 0, 1, 2, 3)

		tired := progress("one", 9)
		tired.Completions = 1000
		s.yielded(s.numbered(0), tired)
		due.MaxCompletions = 1001
		s.wantListed(due, 0, 1, 2, 3)
	}},
}

// recoverer ends the test of a store that cannot list its pending keys.
func (s *scenario) recoverer() {
	s.Helper()
	if _, ok := s.Store.(idempotency.Recoverer); !ok {
		s.Skip("the store does not list its pending keys")
	}
}

func (s *scenario) numbered(n int) idempotency.Key {
	return idempotency.Key{Scope: "alice", Value: fmt.Sprint("key-", n)}
}

// yielded leaves key pending and due.
func (s *scenario) yielded(key idempotency.Key, p idempotency.Progress) {
	s.Helper()
	w := s.chain(s.Store, key)
	if w.Progress() == nil {
		w.step("one", p)
	}
	if err := w.Yield(s.ctx, p); err != nil {
		s.Fatalf("Yield: %v", err)
	}
}

func (s *scenario) pendingKeys(due idempotency.Due) idempotency.PendingKeys {
	s.Helper()
	found, err := s.Store.(idempotency.Recoverer).Pending(s.ctx, due)
	if err != nil {
		s.Fatalf("Pending: %v", err)
	}
	return found
}

// wantListed checks that the keys of these numbers are listed, in this order.
func (s *scenario) wantListed(due idempotency.Due, stuck int, numbers ...int) {
	s.Helper()
	found := s.pendingKeys(due)
	var got, want []idempotency.Key
	for _, pending := range found.Keys {
		got = append(got, pending.Key)
	}
	for _, n := range numbers {
		want = append(want, s.numbered(n))
	}
	if !slices.Equal(got, want) || found.Stuck != stuck {
		s.Fatalf("Pending(%+v) = %v and %d stuck, want %v and %d", due, got, found.Stuck, want, stuck)
	}
}
