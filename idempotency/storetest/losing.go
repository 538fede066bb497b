package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
)

// stale is what an owner may do next that has lost its key without knowing: after a step, or in a foreign call.
var stale = []struct {
	name    string
	foreign bool
	do      func(s *scenario, w *worker) error
}{
	{"Begin", false, func(s *scenario, w *worker) error { return w.Begin(s.ctx) }},
	{"Detach", false, func(s *scenario, w *worker) error { return w.Detach(s.ctx, progress("stale", 1), lease) }},
	{"Renew", false, func(s *scenario, w *worker) error { return w.Renew(s.ctx, lease) }},
	{"Yield", false, func(s *scenario, w *worker) error { return w.Yield(s.ctx, progress("stale", 1)) }},
	{"Complete", false, func(s *scenario, w *worker) error {
		_, err := w.Complete(s.ctx, record("stale"), retention)
		return err
	}},
	{"Refuse", false, func(s *scenario, w *worker) error { _, err := w.Refuse(s.ctx, record("stale"), retention); return err }},
	{"Save in a call", true, func(s *scenario, w *worker) error { return w.Save(s.ctx, progress("stale", 1), lease) }},
	{"Renew in a call", true, func(s *scenario, w *worker) error { return w.Renew(s.ctx, lease) }},
	{"Yield in a call", true, func(s *scenario, w *worker) error { return w.Yield(s.ctx, progress("stale", 1)) }},
}

// idle returns an owner that knows nothing of what comes, after a step or in a foreign call.
func (s *scenario) idle(key idempotency.Key, foreign bool) *worker {
	s.Helper()
	w := s.chain(s.Store, key)
	w.step("one", progress("one", 1))
	if foreign {
		w.detach(progress("one", 1))
	}
	return w
}

var losing = []test{
	{"An owner whose key was taken over does nothing any more", func(s *scenario) {
		for _, op := range stale {
			k := idempotency.Key{Scope: "alice", Value: op.name}
			w := s.idle(k, op.foreign)
			s.endLease(k)
			s.chain(s.Peer, k).step("two", progress("two", 2))
			if s.Write != nil && op.name != "Begin" && op.name != "Detach" {
				_ = s.Write(w.handler, "stale") // may fail already
			}
			if err := op.do(s, w); !errors.Is(err, idempotency.ErrLeaseLost) {
				s.Fatalf("%s of an owner that lost its key = %v, want ErrLeaseLost", op.name, err)
			}
			_ = w.Release(s.ctx)
			s.wantEffects("stale", 0)
			s.wantInProgress(s.Store, k)
			s.endLease(k)
			s.wantPending(k, progress("two", 2))
		}
	}},
	{"An owner whose key was taken over by a foreign call, or given up again, has lost it too", func(s *scenario) {
		for name, take := range map[string]func(w *worker) error{
			"Detach": func(w *worker) error { return w.Detach(s.ctx, progress("one", 2), lease) },
			"Yield":  func(w *worker) error { return w.Yield(s.ctx, progress("one", 2)) },
		} {
			k := idempotency.Key{Scope: "alice", Value: name}
			w := s.chain(s.Store, k)
			w.detach(progress("", 1))
			s.endLease(k)
			if err := take(s.chain(s.Peer, k)); err != nil {
				s.Fatalf("%s: %v", name, err)
			}
			if err := w.Save(s.ctx, progress("stale", 1), lease); !errors.Is(err, idempotency.ErrLeaseLost) {
				s.Fatalf("Save after another attempt's %s = %v, want ErrLeaseLost", name, err)
			}
			_ = w.Release(s.ctx)
			s.endLease(k)
			s.wantPending(k, progress("one", 2))
		}
	}},
	{"An owner that comes back while another attempt works on its key begins no step", func(s *scenario) {
		w := s.idle(key, false)
		s.endLease(key)
		next := s.chain(s.Peer, key)
		began := make(chan error)
		go func() { began <- w.Begin(s.ctx) }() // may wait for what the other one does
		next.step("two", progress("two", 2))
		err := <-began
		if err == nil && s.Optimistic { // it has looked before it had the lock
			err = w.Save(s.ctx, progress("stale", 2), lease)
			if errors.Is(err, idempotency.ErrTransactionConflict) {
				err = idempotency.ErrLeaseLost
			}
		}
		if !errors.Is(err, idempotency.ErrLeaseLost) {
			s.Fatalf("Begin while another attempt takes over = %v, want ErrLeaseLost", err)
		}
		_ = w.Release(s.ctx)
		s.wantRecord(key, next.complete("done"))
	}},
	{"An owner that gives up late does not cost its successor the key", func(s *scenario) {
		w := s.idle(key, true)
		s.endLease(key)
		next := s.chain(s.Peer, key)
		if err := w.Yield(s.ctx, progress("late", 1)); !errors.Is(err, idempotency.ErrLeaseLost) {
			s.Fatalf("Yield while another attempt works on the key = %v, want ErrLeaseLost", err)
		}
		next.step("two", progress("two", 2))
		s.wantRecord(key, next.complete("done"))
	}},
	{"Of an owner that comes back and an attempt that has read its row, one wins", func(s *scenario) {
		for name, comes := range map[string]func(w *worker) error{
			"Save":   func(w *worker) error { return w.Save(s.ctx, progress("charged", 1), lease) },
			"Detach": func(w *worker) error { return w.Detach(s.ctx, progress("charged", 1), lease) },
			"Yield":  func(w *worker) error { return w.Yield(s.ctx, progress("charged", 1)) },
		} {
			k := idempotency.Key{Scope: "alice", Value: name}
			w := s.idle(k, name != "Detach")
			s.endLease(k)
			next := s.chain(s.Peer, k)
			came := comes(w)
			next.begin()
			next.write("taken " + name)
			took := next.Save(s.ctx, progress("taken", 2), lease)
			if (came == nil) == (took == nil) {
				s.Fatalf("%s = %v and the other's Save = %v, want one of them to win", name, came, took)
			}
			want, effects := progress("taken", 2), 1
			if took != nil {
				want, effects = progress("charged", 1), 0
			}
			_ = w.Release(s.ctx)
			_ = next.Release(s.ctx)
			s.endLease(k)
			s.wantPending(k, want)
			s.wantEffects("taken "+name, effects)
		}
	}},
	{"An owner that lost its key to a record gets the record", func(s *scenario) {
		for name, end := range map[string]func(w *worker) (idempotency.Settled, error){
			"Complete": func(w *worker) (idempotency.Settled, error) { return w.Complete(s.ctx, record("stale"), retention) },
			"Refuse":   func(w *worker) (idempotency.Settled, error) { return w.Refuse(s.ctx, record("stale"), retention) },
		} {
			k := idempotency.Key{Scope: "alice", Value: name}
			w := s.chain(s.Store, k)
			w.step("one", progress("one", 1))
			s.endLease(k)
			want := s.chain(s.Peer, k).complete("winner")
			if s.Write != nil {
				_ = s.Write(w.handler, "stale") // may fail already
			}
			settled, err := end(w)
			if err != nil || settled.Record == nil {
				s.Fatalf("%s of a key that is completed = (%+v, %v), want its record", name, settled, err)
			}
			same(s.T, name, settled.Record, want)
			s.wantEffects("stale", 0)
			s.wantRecord(k, want)
		}
	}},
	{"A step of a key that is completed meanwhile is not kept", func(s *scenario) {
		for _, op := range stale {
			if op.name == "Complete" || op.name == "Refuse" {
				continue
			}
			k := idempotency.Key{Scope: "alice", Value: op.name}
			w := s.idle(k, op.foreign)
			s.endLease(k)
			want := s.chain(s.Peer, k).complete("winner")
			if err := op.do(s, w); !errors.Is(err, idempotency.ErrLeaseLost) {
				s.Fatalf("%s of a key that is completed = %v, want ErrLeaseLost", op.name, err)
			}
			_ = w.Release(s.ctx)
			s.wantRecord(k, want)
		}
	}},
	{"A crash in a step loses that step alone, and the lease is what others wait for", func(s *scenario) {
		if s.Crash == nil {
			s.Skip("Subject.Crash is not given: where the store does not end with its process, nobody knows what a crash leaves")
		}
		w := s.chain(s.Store, key)
		w.step("one", progress("one", 1))
		w.begin()
		w.write("crashed")
		if err := s.Crash(w.handler); err != nil {
			s.Fatal(err)
		}
		s.wantInProgress(s.Peer, key)
		s.endLease(key)
		for deadline := time.Now().Add(Bound); ; {
			free, _, err := s.Peer.Claim(s.ctx, key)
			if err == nil && free != nil {
				_ = free.Release(s.ctx)
				break
			}
			if !errors.Is(err, idempotency.ErrInProgress) || time.Now().After(deadline) {
				s.Fatalf("Claim of a crashed owner's key, whose lease is over = (%v, %v)", free, err)
			}
		}
		s.wantPending(key, progress("one", 1))
		s.wantEffects("one", 1)
		s.wantEffects("crashed", 0)
		_ = w.Release(s.ctx)
	}},
	{"Of many that take over, and the owner that comes back, one wins each round", func(s *scenario) {
		const rounds = 20
		owner := s.chain(s.Store, key)
		owner.detach(progress("", 0))
		for round := range rounds {
			s.endLease(key)
			name := fmt.Sprint("round-", round)
			s.race(owner, name, round+1)
			s.endLease(key)
			owner = s.chain(s.Peer, key)
			s.sameProgress(name, *owner.Progress(), progress(name, round+1))
			owner.detach(progress(name, round+1))
		}
		s.wantRecord(key, owner.complete("done"))
	}},
}

// race lets an owner that is detached and many claimers save a progress of this name, until one has done it.
func (s *scenario) race(owner *worker, name string, attempt int) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, Bound)
	defer cancel()
	var won, wrote atomic.Int32
	lost := func(what string, err error) {
		if !errors.Is(err, idempotency.ErrLeaseLost) && !errors.Is(err, idempotency.ErrTransactionConflict) {
			s.Errorf("%s of an attempt that lost a race: %v", what, err)
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := owner.Save(s.ctx, progress(name, attempt), lease); err == nil {
			won.Add(1)
		} else {
			lost("Save", err)
		}
		_ = owner.Release(s.ctx)
	})
	for racer := range racers {
		store := s.Store
		if racer%2 == 1 {
			store = s.Peer
		}
		wg.Go(func() {
			for won.Load() == 0 && ctx.Err() == nil {
				claimed, _, err := store.Claim(s.ctx, key)
				if errors.Is(err, idempotency.ErrInProgress) {
					continue
				}
				if err != nil {
					s.Errorf("Claim: %v", err)
					return
				}
				w := &worker{claimed.(idempotency.Chain), s, claimed.Context(s.ctx)}
				err = w.Begin(s.ctx)
				if err == nil && s.Write != nil {
					err = s.Write(w.handler, name)
				}
				if err == nil {
					err = w.Save(s.ctx, progress(name, attempt), lease)
				}
				if err == nil {
					won.Add(1)
					wrote.Add(1)
				} else {
					lost("a step", err)
				}
				_ = w.Release(s.ctx)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		s.Fatalf("%s: %d attempts have won, want 1", name, won.Load())
	}
	s.wantEffects(name, int(wrote.Load()))
}
