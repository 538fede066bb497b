package storetest

import (
	"bytes"
	"context"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
)

// lease is longer than any run of the suite.
const lease = time.Hour

// worker is a chain, and the context that its handler has for all of it.
type worker struct {
	idempotency.Chain
	scenario *scenario
	handler  context.Context
}

// chain claims key in store, which must succeed. A test on a store whose attempts are no Chains ends here.
func (s *scenario) chain(store idempotency.Store, key idempotency.Key) *worker {
	s.Helper()
	attempt := s.claim(store, key)
	chain, ok := attempt.(idempotency.Chain)
	if !ok {
		_ = attempt.Release(s.ctx)
		s.Skip("the attempts of this store keep no recovery points")
	}
	return &worker{chain, s, chain.Context(s.ctx)}
}

// progress returns that of an attempt, with every byte value in it.
func progress(point string, attempt int) idempotency.Progress {
	all := record(point).Response.Body
	p := idempotency.Progress{
		RecoveryPoint: point, Steps: append([]byte("steps "), all...), Request: append([]byte("request "), all...), Attempt: attempt,
	}
	copy(p.Fingerprint[:], all)
	return p
}

// write leaves an effect by the handler's context.
func (w *worker) write(name string) {
	w.scenario.Helper()
	if w.scenario.Write == nil {
		return
	}
	if err := w.scenario.Write(w.handler, name); err != nil {
		w.scenario.Fatalf("a handler's write failed: %v", err)
	}
}

func (w *worker) begin() {
	w.scenario.Helper()
	if err := w.Begin(w.scenario.ctx); err != nil {
		w.scenario.Fatalf("Begin: %v", err)
	}
}

func (w *worker) save(p idempotency.Progress) {
	w.scenario.Helper()
	if err := w.Save(w.scenario.ctx, p, lease); err != nil {
		w.scenario.Fatalf("Save: %v", err)
	}
}

func (w *worker) detach(p idempotency.Progress) {
	w.scenario.Helper()
	if err := w.Detach(w.scenario.ctx, p, lease); err != nil {
		w.scenario.Fatalf("Detach: %v", err)
	}
}

func (w *worker) undo() {
	w.scenario.Helper()
	if err := w.Undo(w.scenario.ctx); err != nil {
		w.scenario.Fatalf("Undo: %v", err)
	}
}

// step is an atomic phase with one effect.
func (w *worker) step(effect string, p idempotency.Progress) {
	w.scenario.Helper()
	w.begin()
	w.write(effect)
	w.save(p)
}

func (w *worker) complete(name string) *idempotency.Record {
	w.scenario.Helper()
	want := record(name)
	settled, err := w.Complete(w.scenario.ctx, want, retention)
	if err != nil || settled.Record != want {
		w.scenario.Fatalf("Complete = (%+v, %v), want the record that was passed in", settled, err)
	}
	return want
}

func (w *worker) release() {
	w.scenario.Helper()
	if err := w.Release(w.scenario.ctx); err != nil {
		w.scenario.Fatalf("Release: %v", err)
	}
}

// endLease ends the lease of key. A test that needs it ends here where the store cannot.
func (s *scenario) endLease(key idempotency.Key) {
	s.Helper()
	if s.EndLease == nil {
		s.Skip("Subject.EndLease is not given")
	}
	if err := s.EndLease(s.ctx, key); err != nil {
		s.Fatal(err)
	}
}

// wantPending checks that both views give the next attempt want, and leaves the row as it is.
func (s *scenario) wantPending(key idempotency.Key, want idempotency.Progress) {
	s.Helper()
	s.wantAbsent(key)
	for view, store := range map[string]idempotency.Store{"Store": s.Store, "Peer": s.Peer} {
		w := s.chain(store, key)
		if got := w.Progress(); got == nil {
			s.Fatalf("%s: the progress of a pending key is nil", view)
		} else {
			s.sameProgress(view, *got, want)
		}
		w.release()
	}
}

// wantNew checks that key is as if it had never been used.
func (s *scenario) wantNew(key idempotency.Key) {
	s.Helper()
	s.wantAbsent(key)
	w := s.chain(s.Peer, key)
	if got := w.Progress(); got != nil {
		s.Fatalf("the progress of a new key = %+v, want nil", got)
	}
	w.release()
}

func (s *scenario) sameProgress(what string, got, want idempotency.Progress) {
	s.Helper()
	if got.Fingerprint != want.Fingerprint || got.RecoveryPoint != want.RecoveryPoint || !bytes.Equal(got.Steps, want.Steps) ||
		!bytes.Equal(got.Request, want.Request) || got.Attempt != want.Attempt || got.Completions != want.Completions || got.LastError != want.LastError {
		s.Fatalf("%s: progress = %+v, want %+v", what, got, want)
	}
}
