package storetest

import (
	"errors"

	"github.com/onlyonce/onlyonce/idempotency"
)

var chaining = []test{
	{"A recovery point is committed with its writes, and the lease keeps everybody else out", func(s *scenario) {
		w := s.chain(s.Store, key)
		if got := w.Progress(); got != nil {
			s.Fatalf("the progress of a new key = %+v, want nil", got)
		}
		w.step("one", progress("one", 1))
		s.wantEffects("one", 1)
		s.wantAbsent(key)
		s.wantInProgress(s.Store, key)
		s.wantInProgress(s.Peer, key)
		w.step("two", progress("two", 1))
		s.wantEffects("two", 1)
		s.wantInProgress(s.Peer, key)
		w.release()
		s.wantInProgress(s.Peer, key)
	}},
	{"What was saved last is what the next attempt finds, all of it", func(s *scenario) {
		w := s.chain(s.Store, key)
		w.step("one", progress("one", 1))
		want := progress("two", 7)
		want.Completions, want.LastError = 3, "Zürich 💸 '; --"
		w.step("two", want)
		s.endLease(key)
		s.wantPending(key, want)
	}},
	{"An empty progress comes back empty", func(s *scenario) {
		w := s.chain(s.Store, key)
		w.detach(idempotency.Progress{Attempt: 1})
		s.endLease(key)
		s.wantPending(key, idempotency.Progress{Attempt: 1})
	}},
	{"A takeover counts on, and carries the key to its end", func(s *scenario) {
		s.chain(s.Store, key).step("one", progress("one", 1))
		s.endLease(key)
		w := s.chain(s.Peer, key)
		s.wantInProgress(s.Store, key)
		w.step("two", progress("two", w.Progress().Attempt+1))
		s.wantInProgress(s.Store, key)
		s.endLease(key)
		s.wantPending(key, progress("two", 2))
		last := s.chain(s.Store, key)
		last.write("tail")
		s.wantRecord(key, last.complete("done"))
		for _, effect := range []string{"one", "two", "tail"} {
			s.wantEffects(effect, 1)
		}
	}},
	{"A takeover that only releases leaves the row as it is", func(s *scenario) {
		s.chain(s.Store, key).step("one", progress("one", 1))
		s.endLease(key)
		for range 2 {
			w := s.chain(s.Peer, key)
			w.write("released")
			w.release()
		}
		s.wantPending(key, progress("one", 1))
		s.wantEffects("released", 0)
	}},
	{"Yield keeps progress, rolls back what is open and lets the next attempt in at once", func(s *scenario) {
		for _, end := range []struct {
			name string
			open func(w *worker)
		}{
			{"in the tail", func(w *worker) { w.write("yielded") }},
			{"with nothing open", func(*worker) {}},
			{"in a step", func(w *worker) { w.begin(); w.write("yielded") }},
			{"in a foreign call", func(w *worker) { w.detach(progress("one", 1)) }},
		} {
			k := idempotency.Key{Scope: "alice", Value: end.name}
			w := s.chain(s.Store, k)
			w.step("one", progress("one", 1))
			end.open(w)
			want := progress("one", 1)
			want.Completions, want.LastError = 2, "the card network is down"
			if err := w.Yield(s.ctx, want); err != nil {
				s.Fatalf("Yield %s: %v", end.name, err)
			}
			s.wantPending(k, want)
			s.wantEffects("yielded", 0)
			if err := w.Release(s.ctx); err == nil {
				s.Fatal("Release of an attempt that has yielded returned nil")
			}

			next := s.chain(s.Peer, k)
			want.Attempt, want.LastError = 2, "again"
			if err := next.Yield(s.ctx, want); err != nil {
				s.Fatalf("Yield of an attempt that has only claimed: %v", err)
			}
			s.wantPending(k, want)
			s.wantRecord(k, s.complete(s.Store, k, "completed"+end.name))
		}
	}},
	{"A chain is completed, its request forgotten, whether or not a transaction is open", func(s *scenario) {
		for name, open := range map[string]func(w *worker){
			"nothing open":         func(*worker) {},
			"a tail":               func(w *worker) { w.write("a tail") },
			"after an undone step": func(w *worker) { w.begin(); w.write("undone"); w.undo() },
			"after a foreign call": func(w *worker) { w.detach(progress("one", 1)); w.save(progress("charged", 1)) },
			"after a failed call":  func(w *worker) { w.detach(progress("one", 1)); w.undo() },
		} {
			k := idempotency.Key{Scope: "alice", Value: name}
			w := s.chain(s.Store, k)
			w.step("step "+name, progress("one", 1))
			open(w)
			s.wantFound(k, w.complete(name))
			s.wantEffects("step "+name, 1)
			s.expire(k)
			s.wantNew(k)
		}
		s.wantEffects("a tail", 1)
		s.wantEffects("undone", 0)
	}},
	{"A refusal rolls the tail back and keeps the steps", func(s *scenario) {
		for name, takeover := range map[string]bool{"by the first attempt": false, "by a later one": true} {
			k := idempotency.Key{Scope: "alice", Value: name}
			w := s.chain(s.Store, k)
			w.step("step "+name, progress("one", 1))
			if takeover {
				s.endLease(k)
				w = s.chain(s.Peer, k)
			}
			w.write("tail " + name)
			want := record("refused")
			if settled, err := w.Refuse(s.ctx, want, retention); err != nil || settled.Record != want {
				s.Fatalf("Refuse = (%+v, %v), want the record that was passed in", settled, err)
			}
			s.wantEffects("step "+name, 1)
			s.wantEffects("tail "+name, 0)
			s.wantFound(k, want)
			s.expire(k)
			s.wantNew(k)
		}
	}},
	{"A detached attempt holds nothing but the lease", func(s *scenario) {
		w := s.chain(s.Store, key)
		w.detach(progress("", 1))
		s.wantAbsent(key)
		s.wantInProgress(s.Peer, key)
		if s.Write != nil {
			if err := s.Write(w.handler, "foreign"); err == nil {
				s.Fatal("a write in a foreign call succeeded")
			}
		}
		w.save(progress("charged", 1))
		s.wantInProgress(s.Peer, key)
		w.write("tail")
		s.wantRecord(key, w.complete("done"))
		s.wantEffects("foreign", 0)
		s.wantEffects("tail", 1)
	}},
	{"A write outside of a step is found when the next one begins", func(s *scenario) {
		if s.Write == nil {
			s.Skip("the store has no transaction")
		}
		for name, start := range map[string]func(w *worker) error{
			"Begin":  func(w *worker) error { return w.Begin(s.ctx) },
			"Detach": func(w *worker) error { return w.Detach(s.ctx, progress("", 1), lease) },
		} {
			for _, steps := range []int{0, 1} {
				k := idempotency.Key{Scope: name, Value: "after " + string(rune('0'+steps)) + " steps"}
				w := s.chain(s.Store, k)
				if steps > 0 {
					w.step("kept", progress("one", 1))
				}
				w.write("outside")
				if err := start(w); !errors.Is(err, idempotency.ErrStepMisuse) {
					s.Fatalf("%s after an unkept write = %v, want ErrStepMisuse", name, err)
				}
				if steps > 0 {
					if err := w.Yield(s.ctx, progress("one", 1)); err != nil {
						s.Fatal(err)
					}
					s.wantPending(k, progress("one", 1))
				} else {
					w.release()
					s.wantNew(k)
				}
				s.wantEffects("outside", 0)
			}
		}
		s.wantEffects("kept", 2)
	}},
	{"An undone step leaves no writes, and the attempt goes on", func(s *scenario) {
		w := s.chain(s.Store, key)
		w.begin()
		w.write("first, undone")
		w.undo()
		w.step("one", progress("one", 1))
		w.begin()
		w.write("undone")
		w.undo()
		w.detach(progress("one", 1))
		w.undo()
		w.step("two", progress("two", 1))
		w.begin()
		w.undo()
		w.write("tail")
		s.wantRecord(key, w.complete("done"))
		for effect, want := range map[string]int{"first, undone": 0, "one": 1, "undone": 0, "two": 1, "tail": 1} {
			s.wantEffects(effect, want)
		}
	}},
	{"A key whose first step is undone is free again", func(s *scenario) {
		w := s.chain(s.Store, key)
		w.begin()
		w.write("undone")
		w.undo()
		w.release()
		s.wantEffects("undone", 0)
		s.wantNew(key)
	}},
	{"Pending keys are never reaped", func(s *scenario) {
		s.chain(s.Store, key).step("one", progress("one", 1))
		s.endLease(key)
		if reaped, err := s.Store.Reap(s.ctx, 10); err != nil || reaped.Deleted != 0 {
			s.Fatalf("Reap = (%+v, %v), want nothing", reaped, err)
		}
		s.wantPending(key, progress("one", 1))
	}},
	{"A record whose retention is over gives way to a chain", func(s *scenario) {
		for name, start := range map[string]func(w *worker){
			"by a step":         func(w *worker) { w.step("one", progress("one", 1)) },
			"by a foreign call": func(w *worker) { w.detach(progress("one", 1)) },
		} {
			k := idempotency.Key{Scope: "alice", Value: name}
			s.complete(s.Store, k, "old")
			s.expire(k)
			w := s.chain(s.Store, k)
			if got := w.Progress(); got != nil {
				s.Fatalf("the progress of an expired key = %+v, want nil", got)
			}
			start(w)
			if _, err := s.Peer.Reap(s.ctx, 10); err != nil {
				s.Fatal(err)
			}
			s.endLease(k)
			s.wantPending(k, progress("one", 1))
			s.wantRecord(k, s.chain(s.Peer, k).complete("new"))
		}
	}},
	{"Renew extends the lease", func(s *scenario) {
		w := s.chain(s.Store, key)
		w.detach(progress("", 1))
		s.endLease(key)
		if err := w.Renew(s.ctx, lease); err != nil {
			s.Fatalf("Renew: %v", err)
		}
		s.wantInProgress(s.Peer, key)
		w.save(progress("charged", 1))
		s.endLease(key)
		s.wantPending(key, progress("charged", 1))
	}},
	{"An owner whose lease is over goes on if nobody has taken over", func(s *scenario) {
		w := s.chain(s.Store, key)
		w.step("one", progress("one", 1))
		s.endLease(key)
		w.begin()
		s.wantInProgress(s.Peer, key) // a step holds the key without a lease
		w.write("two")
		w.save(progress("two", 1))
		s.endLease(key)
		w.detach(progress("two", 1))
		s.endLease(key)
		w.save(progress("charged", 1))
		s.wantInProgress(s.Peer, key)
		s.endLease(key)
		w.write("tail")
		s.wantRecord(key, w.complete("done"))
		for _, effect := range []string{"one", "two", "tail"} {
			s.wantEffects(effect, 1)
		}
	}},
}
