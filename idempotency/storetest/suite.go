// Package storetest is the suite that every idempotency.Store must pass. It needs the standard library only.
//
// A store's own test calls [Run] with a function that opens an empty store:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) storetest.Subject { … })
//	}
//
// What a store cannot do it leaves out of its [Subject], and its tests are skipped with a reason (go test -v shows them). That is its
// part of the contract then, which its documentation has to say:
//
//   - Without Write and Effects, no test looks at effects: the store is not transactional, and what a handler did stays when it
//     is refused, released or crashes. All the rest is about records, and holds for every store.
//   - Without Crash, nobody knows whether a crashed owner's key becomes free, and whether an owner that was overtaken can still put its
//     record in the place of another one's. A store that outlives its processes has to have it; to pass, it needs something that tells
//     attempts at a key apart, is compared when one ends, and goes away without its owner: an owner token and a lease, or a lock that
//     is part of the transaction.
//   - Where its attempts are no Chains, handlers that name recovery points do not run on it; where it is no Recoverer, nobody
//     completes them; where they are no PendingCounters, Config.MaxPendingPerScope does not count what is left behind.
//   - Where it is no Leaser, no gateway stands on it.
//   - Where a record's Left is 0, Config.Cache takes nothing of it.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
)

// Subject is a store under test, and the means to act on it from outside. Store, Peer and Expire are needed; a test whose
// means are missing is skipped, and says so.
type Subject struct {
	// Store is the store, empty.
	Store idempotency.Store
	// Peer is the same data as another process sees it. For a store that lives in one process: Store itself.
	Peer idempotency.Store
	// Expire ends the retention of the completed record of key; of a lent key, the time for which it is remembered.
	Expire func(ctx context.Context, key idempotency.Key) error
	// Write leaves an effect of this name, as a handler would with the context that it is given. nil for a store without a
	// transaction.
	Write func(ctx context.Context, name string) error
	// Effects counts the effects of this name that are there for everybody to see. nil together with Write.
	Effects func(ctx context.Context, name string) (int, error)
	// Optimistic says that two attempts may work on a key at a time, of which one takes effect: a transaction whose
	// snapshot is older than its lock.
	Optimistic bool
	// SelfExpiring says that what is over is gone by itself, so that Reap has nothing to delete.
	SelfExpiring bool
	// EndLease ends the lease of the pending or lent key, as the passing of time would. nil for a store whose attempts are not Chains and which
	// is no Leaser.
	EndLease func(ctx context.Context, key idempotency.Key) error
	// ComparesExactly says that a Leaser compares fingerprints by itself, and does not ask Identity.Matches.
	ComparesExactly bool
	// LeasesOnly says that the store lends keys, and that Claim is none of its business.
	LeasesOnly bool
	// Crash does to the attempt whose context this is what the death of its process would. nil where the store dies with it.
	Crash func(ctx context.Context) error
}

// Bound is how long the suite waits for what the contract says happens "within a bound".
const Bound = 15 * time.Second

// retention is longer than any run of the suite.
const retention = time.Hour

// Run runs the suite, each test on a store of its own.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	for _, group := range [][]test{claiming, ending, retaining, crashing, racing, chaining, losing, listing, counting} {
		for _, test := range group {
			t.Run(test.name, func(t *testing.T) {
				t.Parallel()
				test.run(&scenario{T: t, Subject: open(t), ctx: context.Background()})
			})
		}
	}
	t.Run("A store that lends keys", func(t *testing.T) { RunLeases(t, open) })
}

type test struct {
	name string
	run  func(s *scenario)
}

// scenario is one test's store, and what the tests say about it.
type scenario struct {
	*testing.T
	Subject
	ctx context.Context
}

var key = idempotency.Key{Scope: "alice", Value: "payment-1"}

// record returns one with every byte value in its body.
func record(name string) *idempotency.Record {
	body := []byte(name)
	for b := range 256 {
		body = append(body, byte(b))
	}
	r := &idempotency.Record{Response: idempotency.Response{
		Status: 201, Header: []byte("Content-Type: application/json\r\nLocation: /" + name + "\r\n"), Body: body,
	}}
	copy(r.Fingerprint[:], name)
	return r
}

// claim claims key in store, which must succeed.
func (s *scenario) claim(store idempotency.Store, key idempotency.Key) idempotency.Attempt {
	s.Helper()
	attempt, found, err := store.Claim(s.ctx, key)
	if err != nil || found != nil || attempt == nil {
		s.Fatalf("Claim of a free key = (%v, %v, %v), want an attempt alone", attempt, found, err)
	}
	return attempt
}

// complete runs a whole attempt at key with one effect of the name.
func (s *scenario) complete(store idempotency.Store, key idempotency.Key, name string) *idempotency.Record {
	s.Helper()
	attempt := s.claim(store, key)
	s.write(attempt, name)
	want := record(name)
	settled, err := attempt.Complete(s.ctx, want, retention)
	if err != nil || settled.Record != want || settled.ReadBack {
		s.Fatalf("Complete = (%+v, %v), want the record that was passed in", settled, err)
	}
	return want
}

func (s *scenario) write(attempt idempotency.Attempt, name string) {
	s.Helper()
	if s.Write == nil {
		return
	}
	if err := s.Write(attempt.Context(s.ctx), name); err != nil {
		s.Fatalf("a handler's write failed: %v", err)
	}
}

func (s *scenario) wantEffects(name string, want int) {
	s.Helper()
	if s.Effects == nil {
		return
	}
	if got, err := s.Effects(s.ctx, name); err != nil || got != want {
		s.Fatalf("effects of %q = (%d, %v), want %d", name, got, err, want)
	}
}

// wantRecord checks that both views of the store answer key with want, by Claim and by Lookup.
func (s *scenario) wantRecord(key idempotency.Key, want *idempotency.Record) {
	s.Helper()
	for view, store := range map[string]idempotency.Store{"Store": s.Store, "Peer": s.Peer} {
		attempt, claimed, err := store.Claim(s.ctx, key)
		if err != nil || attempt != nil || claimed == nil {
			s.Fatalf("%s.Claim of a completed key = (%v, %v, %v), want a record alone", view, attempt, claimed, err)
		}
		same(s.T, view+".Claim", claimed, want)
	}
	s.wantFound(key, want)
}

// wantFound is wantRecord without a claim, which a store may end behind its caller's back.
func (s *scenario) wantFound(key idempotency.Key, want *idempotency.Record) {
	s.Helper()
	for view, store := range map[string]idempotency.Store{"Store": s.Store, "Peer": s.Peer} {
		found, err := store.Lookup(s.ctx, key)
		if err != nil || found == nil {
			s.Fatalf("%s.Lookup of a completed key = (%v, %v), want a record", view, found, err)
		}
		same(s.T, view+".Lookup", found, want)
	}
}

func (s *scenario) wantAbsent(key idempotency.Key) {
	s.Helper()
	if found, err := s.Store.Lookup(s.ctx, key); found != nil || err != nil {
		s.Fatalf("Lookup of a key without a record = (%v, %v), want nothing", found, err)
	}
}

func (s *scenario) wantInProgress(store idempotency.Store, key idempotency.Key) {
	s.Helper()
	attempt, found, err := store.Claim(s.ctx, key)
	if !errors.Is(err, idempotency.ErrInProgress) || attempt != nil || found != nil {
		s.Fatalf("Claim of a claimed key = (%v, %v, %v), want ErrInProgress alone", attempt, found, err)
	}
}

func same(t *testing.T, what string, got, want *idempotency.Record) {
	t.Helper()
	if got.Fingerprint != want.Fingerprint || got.Response.Status != want.Response.Status ||
		!bytes.Equal(got.Response.Header, want.Response.Header) || !bytes.Equal(got.Response.Body, want.Response.Body) {
		t.Fatalf("%s = %+v, want %+v", what, got, want)
	}
}
