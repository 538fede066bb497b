package storetest

import (
	"context"
	"errors"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
)

var crashing = []test{
	{"A crashed owner blocks nobody for longer than a bound, and leaves none of its writes", func(s *scenario) {
		attempt := s.crashed()
		s.wantEffects("crashed", 0)
		s.complete(s.Peer, key, "retried")
		s.wantEffects("retried", 1)
		_ = attempt.Release(s.ctx)
	}},
	{"An owner that lost its attempt cannot complete it", func(s *scenario) {
		attempt := s.crashed()
		if settled, err := attempt.Complete(s.ctx, record("crashed"), retention); err == nil {
			s.Fatalf("Complete of a lost attempt = %+v, want an error", settled)
		}
		s.wantEffects("crashed", 0)
		s.wantAbsent(key)
	}},
	{"An owner that lost its attempt to another one gets that one's record, or an error", func(s *scenario) {
		attempt := s.crashed()
		want := s.complete(s.Peer, key, "winner")
		if settled, err := attempt.Complete(s.ctx, record("crashed"), retention); err == nil {
			same(s.T, "Complete of a lost attempt", settled.Record, want)
		}
		s.wantEffects("crashed", 0)
		s.wantEffects("winner", 1)
		s.wantRecord(key, want)
	}},
}

// crashed returns an attempt whose owner is gone, once its key is free again.
func (s *scenario) crashed() idempotency.Attempt {
	s.Helper()
	if s.Crash == nil {
		s.Skip("Subject.Crash is not given: where the store does not end with its process, nobody knows what a crash leaves")
	}
	attempt := s.claim(s.Store, key)
	s.write(attempt, "crashed")
	if err := s.Crash(attempt.Context(s.ctx)); err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(s.ctx, Bound)
	defer cancel()
	for {
		free, _, err := s.Peer.Claim(ctx, key)
		switch {
		case err == nil && free != nil:
			if err := free.Release(s.ctx); err != nil {
				s.Fatal(err)
			}
			return attempt
		case !errors.Is(err, idempotency.ErrInProgress):
			s.Fatalf("Claim of a crashed owner's key = (%v, %v)", free, err)
		}
		select {
		case <-ctx.Done():
			s.Fatalf("the key of a crashed owner is still in progress after %v", Bound)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
