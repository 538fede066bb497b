package storetest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
)

// RunLeases runs the part of the suite that is about an idempotency.Leaser: for one whose other half is another suite's affair, such as a
// client of a service that lends keys. [Run] does it as well. Of the Subject it needs Store, Peer, Expire and EndLease.
func RunLeases(t *testing.T, open func(t *testing.T) Subject) {
	if _, ok := open(t).Store.(idempotency.Leaser); !ok {
		t.Skip("the store lends no keys: it is no idempotency.Leaser, so that no gateway stands on it")
	}
	for _, test := range slices.Concat(leasing, lendingRaces) {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(&scenario{T: t, Subject: open(t), ctx: context.Background()})
		})
	}
}

// lenders returns the store, and the same as another process sees it.
func (s *scenario) lenders() (store, peer idempotency.Leaser) {
	return s.Store.(idempotency.Leaser), s.Peer.(idempotency.Leaser)
}

// terms are those of a new owner, for the request of this name; "" has no fingerprint.
func terms(request string) idempotency.Terms {
	t := idempotency.Terms{Owner: idempotency.NewOwnerToken(), Lease: time.Hour}
	copy(t.Fingerprint[:], request)
	return t
}

// borrow acquires key, which must succeed, and returns the owner.
func (s *scenario) borrow(store idempotency.Leaser, key idempotency.Key, request string, attempt int) idempotency.OwnerToken {
	s.Helper()
	t := terms(request)
	s.borrowAs(store, key, t, attempt)
	return t.Owner
}

func (s *scenario) borrowAs(store idempotency.Leaser, key idempotency.Key, t idempotency.Terms, attempt int) {
	s.Helper()
	lease, found, err := store.Acquire(s.ctx, key, t)
	if err != nil || found != nil || lease == nil || lease.Attempt != attempt {
		s.Fatalf("Acquire = (%+v, %v, %v), want attempt %d alone", lease, found, err, attempt)
	}
}

// settle ends the loan with the record of this name.
func (s *scenario) settle(store idempotency.Leaser, key idempotency.Key, owner idempotency.OwnerToken, name string) *idempotency.Record {
	s.Helper()
	want := record(name)
	if again, err := store.Settle(s.ctx, key, owner, want, retention); err != nil || again {
		s.Fatalf("Settle = (%v, %v), want it done for the first time", again, err)
	}
	return want
}

// wantRefused checks that Acquire ends by this error, for a new owner.
func (s *scenario) wantRefused(store idempotency.Leaser, key idempotency.Key, request string, want error) {
	s.Helper()
	lease, found, err := store.Acquire(s.ctx, key, terms(request))
	if !errors.Is(err, want) || lease != nil || found != nil {
		s.Fatalf("Acquire = (%+v, %v, %v), want %v alone", lease, found, err, want)
	}
}

// wantLost checks that the key is not owner's: nothing that the owner does works, or changes anything.
func (s *scenario) wantLost(store idempotency.Leaser, key idempotency.Key, owner idempotency.OwnerToken) {
	s.Helper()
	if again, err := store.Settle(s.ctx, key, owner, record("stale"), retention); !errors.Is(err, idempotency.ErrLeaseLost) || again {
		s.Fatalf("Settle by an owner that lost the key = (%v, %v), want ErrLeaseLost", again, err)
	}
	if err := store.Extend(s.ctx, key, owner, time.Hour); !errors.Is(err, idempotency.ErrLeaseLost) {
		s.Fatalf("Extend by an owner that lost the key = %v, want ErrLeaseLost", err)
	}
	if err := store.Free(s.ctx, key, owner); !errors.Is(err, idempotency.ErrLeaseLost) {
		s.Fatalf("Free by an owner that lost the key = %v, want ErrLeaseLost", err)
	}
}

// wantSettled checks that whoever asks gets this record.
func (s *scenario) wantSettled(key idempotency.Key, request string, want *idempotency.Record) {
	s.Helper()
	store, peer := s.lenders()
	for view, lender := range map[string]idempotency.Leaser{"Store": store, "Peer": peer} {
		lease, found, err := lender.Acquire(s.ctx, key, terms(request))
		if err != nil || lease != nil || found == nil {
			s.Fatalf("%s.Acquire of a completed key = (%+v, %v, %v), want a record alone", view, lease, found, err)
		}
		same(s.T, view+".Acquire", found, want)
	}
	s.wantFound(key, want)
}

var leasing = []test{
	{"A lent key is in progress for everybody else, and completed by its owner", func(s *scenario) {
		store, peer := s.lenders()
		owner := s.borrow(store, key, "paid", 1)
		s.wantRefused(peer, key, "paid", idempotency.ErrInProgress)
		s.wantRefused(peer, key, "another", idempotency.ErrInProgress)
		s.wantAbsent(key)
		s.wantSettled(key, "paid", s.settle(peer, key, owner, "paid")) // another process than the one that began
	}},
	{"A record is another request's if the fingerprint is, and nobody's if there is none", func(s *scenario) {
		store, peer := s.lenders()
		want := s.settle(store, key, s.borrow(store, key, "paid", 1), "paid")
		s.wantRefused(peer, key, "another", idempotency.ErrKeyReused)
		s.wantSettled(key, "", want)
		s.wantSettled(key, "paid", want)
	}},
	{"A record without a fingerprint keeps that of its claim", func(s *scenario) {
		store, peer := s.lenders()
		owner := s.borrow(store, key, "paid", 1)
		bare := record("paid")
		bare.Fingerprint = idempotency.Fingerprint{}
		for _, known := range []bool{false, true} {
			if again, err := store.Settle(s.ctx, key, owner, bare, retention); err != nil || again != known {
				s.Fatalf("Settle = (%v, %v), want %v", again, err, known)
			}
		}
		s.wantRefused(peer, key, "another", idempotency.ErrKeyReused)
		s.wantSettled(key, "paid", record("paid"))
	}},
	{"Who knows the recipe of a stored fingerprint may say that it is the same request", func(s *scenario) {
		store, peer := s.lenders()
		if s.ComparesExactly {
			s.Skip("the store compares fingerprints by itself, and does not ask Identity.Matches")
		}
		var asked []idempotency.Fingerprint
		t := terms("new recipe")
		t.Matches = func(stored idempotency.Fingerprint) bool { asked = append(asked, stored); return true }
		_ = s.borrow(store, key, "paid", 1)
		s.endLease(key)
		s.borrowAs(peer, key, t, 2)
		completed := idempotency.Key{Scope: "alice", Value: "completed"}
		s.settle(store, completed, s.borrow(store, completed, "paid", 1), "paid")
		if _, found, err := store.Acquire(s.ctx, completed, t); err != nil || found == nil {
			s.Fatalf("Acquire = (%v, %v), want the record", found, err)
		}
		for _, fingerprint := range asked {
			if fingerprint != terms("paid").Fingerprint {
				s.Fatalf("Matches was asked about %v, want what is stored", fingerprint)
			}
		}
		if len(asked) < 2 {
			s.Fatalf("Matches was asked %d times, want it asked about the loan and the record", len(asked))
		}
		s.endLease(key)
		s.wantRefused(store, key, "paid", idempotency.ErrKeyReused) // the last owner's fingerprint counts
		s.borrow(store, key, "new recipe", 3)
	}},
	{"A lease that is over lets the next owner in, and counts it", func(s *scenario) {
		store, peer := s.lenders()
		first := s.borrow(store, key, "paid", 1)
		s.endLease(key)
		second := s.borrow(peer, key, "paid", 2)
		s.wantLost(store, key, first)
		s.wantRefused(store, key, "paid", idempotency.ErrInProgress)
		s.endLease(key)
		third := s.borrow(store, key, "paid", 3)
		s.wantLost(peer, key, second)
		s.wantSettled(key, "paid", s.settle(store, key, third, "paid"))
		s.wantLost(store, key, first)
	}},
	{"What was left without an outcome is not taken over by another request", func(s *scenario) {
		store, peer := s.lenders()
		_ = s.borrow(store, key, "paid", 1)
		s.endLease(key)
		s.wantRefused(peer, key, "another", idempotency.ErrKeyReused)
		s.borrow(peer, key, "paid", 2)
	}},
	{"A fingerprint that comes later counts from then on", func(s *scenario) {
		store, peer := s.lenders()
		_ = s.borrow(store, key, "", 1)
		s.endLease(key)
		_ = s.borrow(peer, key, "paid", 2)
		s.endLease(key)
		s.wantRefused(store, key, "another", idempotency.ErrKeyReused)
		_ = s.borrow(store, key, "", 3) // and stays
		s.endLease(key)
		s.wantRefused(store, key, "another", idempotency.ErrKeyReused)
		late := idempotency.Key{Scope: "alice", Value: "late"}
		want := s.settle(store, late, s.borrow(store, late, "", 1), "paid")
		s.wantRefused(store, late, "another", idempotency.ErrKeyReused)
		s.wantSettled(late, "paid", want)
	}},
	{"An owner whose lease is over may still complete, extend or free, if nobody has taken over", func(s *scenario) {
		store, peer := s.lenders()
		owner := s.borrow(store, key, "paid", 1)
		s.endLease(key)
		if err := peer.Extend(s.ctx, key, owner, time.Hour); err != nil {
			s.Fatal(err)
		}
		s.wantRefused(store, key, "paid", idempotency.ErrInProgress)
		s.endLease(key)
		s.wantSettled(key, "paid", s.settle(store, key, owner, "paid"))
		freed := idempotency.Key{Scope: "alice", Value: "freed"}
		owner = s.borrow(store, freed, "paid", 1)
		s.endLease(freed)
		if err := store.Free(s.ctx, freed, owner); err != nil {
			s.Fatal(err)
		}
		s.borrow(store, freed, "another", 1)
	}},
	{"Extend gives a lease of another length, from now on", func(s *scenario) {
		store, peer := s.lenders()
		owner := s.borrow(store, key, "paid", 1)
		if err := store.Extend(s.ctx, key, owner, time.Millisecond); err != nil {
			s.Fatal(err)
		}
		for deadline := time.Now().Add(Bound); ; { // the store's clock ends it
			lease, _, err := peer.Acquire(s.ctx, key, terms("paid"))
			if err == nil && lease != nil && lease.Attempt == 2 {
				break
			}
			if !errors.Is(err, idempotency.ErrInProgress) || time.Now().After(deadline) {
				s.Fatalf("Acquire = (%+v, %v), want attempt 2 once the lease is over", lease, err)
			}
		}
		s.wantLost(store, key, owner)
	}},
	{"A freed key is new again", func(s *scenario) {
		store, peer := s.lenders()
		owner := s.borrow(store, key, "paid", 1)
		if err := peer.Free(s.ctx, key, owner); err != nil {
			s.Fatal(err)
		}
		s.wantLost(store, key, owner)
		s.borrow(peer, key, "another", 1)
		s.wantLost(store, key, owner)
	}},
	{"A freed key that an earlier owner has left without an outcome stays as that one left it", func(s *scenario) {
		store, peer := s.lenders()
		first := s.borrow(store, key, "paid", 1)
		s.endLease(key)
		second := s.borrow(peer, key, "paid", 2)
		if err := peer.Free(s.ctx, key, second); err != nil {
			s.Fatal(err)
		}
		s.wantLost(store, key, second)
		s.wantLost(store, key, first)
		s.wantLost(store, key, idempotency.OwnerToken{})
		s.wantRefused(store, key, "another", idempotency.ErrKeyReused)
		third := s.borrow(store, key, "paid", 2)
		s.wantSettled(key, "paid", s.settle(store, key, third, "paid"))
	}},
	{"Acquire by the same owner is the same loan", func(s *scenario) {
		store, peer := s.lenders()
		t := terms("paid")
		s.borrowAs(store, key, t, 1)
		s.borrowAs(peer, key, t, 1)
		s.endLease(key)
		s.borrowAs(peer, key, t, 1)
		s.wantRefused(store, key, "paid", idempotency.ErrInProgress) // the lease was renewed
		want := s.settle(store, key, t.Owner, "paid")
		_, found, err := store.Acquire(s.ctx, key, t)
		if err != nil || found == nil {
			s.Fatalf("Acquire of the completed key by its owner = (%v, %v), want the record", found, err)
		}
		same(s.T, "Acquire", found, want)
	}},
	{"The same record is stored once, whoever asks how often, and no other in its place", func(s *scenario) {
		store, peer := s.lenders()
		owner := s.borrow(store, key, "paid", 1)
		want := s.settle(store, key, owner, "paid")
		for _, lender := range []idempotency.Leaser{store, peer} {
			if again, err := lender.Settle(s.ctx, key, owner, record("paid"), retention); err != nil || !again {
				s.Fatalf("the same Settle once more = (%v, %v), want it known", again, err)
			}
			for what, change := range map[string]func(r *idempotency.Record){
				"body":   func(r *idempotency.Record) { r.Response.Body = append(r.Response.Body, 'x') },
				"header": func(r *idempotency.Record) { r.Response.Header = nil },
				"status": func(r *idempotency.Record) { r.Response.Status = 200 },
			} {
				changed := record("paid")
				change(changed)
				if again, err := lender.Settle(s.ctx, key, owner, changed, retention); !errors.Is(err, idempotency.ErrLeaseLost) || again {
					s.Fatalf("Settle with another %s = (%v, %v), want ErrLeaseLost", what, again, err)
				}
			}
			if again, err := lender.Settle(s.ctx, key, idempotency.NewOwnerToken(), record("paid"), retention); !errors.Is(err, idempotency.ErrLeaseLost) || again {
				s.Fatalf("the same Settle by nobody's token = (%v, %v), want ErrLeaseLost", again, err)
			}
		}
		s.wantLost(store, key, owner)
		s.wantSettled(key, "paid", want)
	}},
	{"A response without headers and body comes back so", func(s *scenario) {
		store, _ := s.lenders()
		owner := s.borrow(store, key, "", 1)
		want := &idempotency.Record{Response: idempotency.Response{Status: 204}}
		for _, again := range []bool{false, true} {
			if got, err := store.Settle(s.ctx, key, owner, want, retention); err != nil || got != again {
				s.Fatalf("Settle = (%v, %v), want %v", got, err, again)
			}
		}
		s.wantSettled(key, "", want)
	}},
	{"A record whose retention is over gives way to a loan, and the loan to a record", func(s *scenario) {
		store, peer := s.lenders()
		old := s.borrow(store, key, "old", 1)
		s.settle(store, key, old, "old")
		s.expire(key)
		s.wantAbsent(key)
		if again, err := peer.Settle(s.ctx, key, old, record("old"), retention); again || err != nil && !errors.Is(err, idempotency.ErrLeaseLost) || err == nil {
			s.Fatalf("Settle again after the retention = (%v, %v), want ErrLeaseLost", again, err)
		}
		owner := s.borrow(peer, key, "new", 1)
		s.wantAbsent(key)
		s.wantLost(store, key, old)
		s.wantSettled(key, "new", s.settle(store, key, owner, "new"))
	}},
	{"Scopes and keys are apart", func(s *scenario) {
		store, peer := s.lenders()
		other := idempotency.Key{Scope: "bob", Value: key.Value}
		owner := s.borrow(store, key, "paid", 1)
		theirs := s.borrow(peer, other, "paid", 1)
		s.wantLost(store, other, owner)
		s.settle(store, key, owner, "paid")
		s.wantAbsent(other)
		s.wantRefused(store, other, "paid", idempotency.ErrInProgress)
		s.settle(store, other, theirs, "paid")
	}},
	{"Reap forgets loans that need not be remembered any more, and no others", func(s *scenario) {
		store, peer := s.lenders()
		kept, forgotten, live := idempotency.Key{Scope: "a", Value: "kept"}, idempotency.Key{Scope: "a", Value: "forgotten"}, idempotency.Key{Scope: "a", Value: "live"}
		s.borrow(store, kept, "paid", 1)
		s.endLease(kept)
		s.borrow(store, live, "paid", 1)
		owner := s.borrow(store, forgotten, "paid", 1)
		s.expire(forgotten)
		want := 1
		if s.SelfExpiring {
			want = 0
		}
		if reaped, err := peer.Reap(s.ctx, 10); err != nil || reaped.Deleted != want {
			s.Fatalf("Reap = (%+v, %v), want %d deleted", reaped, err, want)
		}
		s.wantLost(store, forgotten, owner)
		s.borrow(store, forgotten, "another", 1)
		s.wantRefused(store, live, "paid", idempotency.ErrInProgress)
		s.wantRefused(store, kept, "another", idempotency.ErrKeyReused)
		s.borrow(store, kept, "paid", 2)
	}},
	{"Claim never takes a lent key over, and Acquire none that is worked on", func(s *scenario) {
		store, peer := s.lenders()
		if s.LeasesOnly {
			s.Skip("the store lends keys and does nothing else")
		}
		owner := s.borrow(store, key, "paid", 1)
		s.wantInProgress(peer, key)
		s.endLease(key)
		s.wantInProgress(peer, key)
		s.wantSettled(key, "paid", s.settle(store, key, owner, "paid"))
		s.wantRecord(key, record("paid"))

		pending := idempotency.Key{Scope: "alice", Value: "pending"}
		attempt := s.claim(store, pending)
		chain, ok := attempt.(idempotency.Chain)
		if !ok {
			_ = attempt.Release(s.ctx)
			return
		}
		w := &worker{scenario: s, Chain: chain, handler: chain.Context(s.ctx)}
		w.step("one", progress("one", 1))
		s.wantRefused(peer, pending, "", idempotency.ErrInProgress)
		s.endLease(pending)
		s.wantRefused(peer, pending, "", idempotency.ErrInProgress)
		_ = w.Release(s.ctx)
		s.wantPending(pending, progress("one", 1))
	}},
	{"Terms that make no sense are refused", func(s *scenario) {
		store, _ := s.lenders()
		for what, change := range map[string]func(t *idempotency.Terms){
			"no owner":         func(t *idempotency.Terms) { t.Owner = idempotency.OwnerToken{} },
			"no lease":         func(t *idempotency.Terms) { t.Lease = 0 },
			"a negative lease": func(t *idempotency.Terms) { t.Lease = -time.Second },
			"nothing to remember": func(t *idempotency.Terms) {
				t.Remember = -1
			},
		} {
			t := terms("")
			change(&t)
			if lease, found, err := store.Acquire(s.ctx, key, t); err == nil || lease != nil || found != nil {
				s.Fatalf("Acquire with %s = (%v, %v, %v), want an error", what, lease, found, err)
			}
		}
		s.borrow(store, key, "", 1)
	}},
}
