package storetest

import (
	"errors"
	"fmt"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
)

var retaining = []test{
	{"A record whose retention is over counts as absent, and is replaced by the next one", func(s *scenario) {
		s.complete(s.Store, key, "old")
		s.expire(key)
		s.wantAbsent(key)
		want := s.complete(s.Peer, key, "new")
		s.wantRecord(key, want)
		s.wantEffects("new", 1)
		if reaped, err := s.Store.Reap(s.ctx, 10); err != nil {
			s.Fatalf("Reap = (%+v, %v)", reaped, err)
		}
		s.wantRecord(key, want)
	}},
	{"A record says how much of its retention is left, and no more than that", func(s *scenario) {
		for _, retention := range []time.Duration{time.Minute, time.Hour, 1000 * time.Hour} {
			k := idempotency.Key{Scope: "alice", Value: retention.String()}
			if _, err := s.claim(s.Store, k).Complete(s.ctx, record("kept"), retention); err != nil {
				s.Fatal(err)
			}
			for view, store := range map[string]idempotency.Store{"Store": s.Store, "Peer": s.Peer} {
				_, claimed, err := store.Claim(s.ctx, k)
				if err != nil || claimed == nil {
					s.Fatalf("%s.Claim of a completed key = (%v, %v), want a record", view, claimed, err)
				}
				found, err := store.Lookup(s.ctx, k)
				if err != nil || found == nil {
					s.Fatalf("%s.Lookup of a completed key = (%v, %v), want a record", view, found, err)
				}
				if claimed.Left == 0 && found.Left == 0 {
					s.Skip("the store does not tell how much of a retention is left, so that Config.Cache takes nothing of it")
				}
				for _, left := range []time.Duration{claimed.Left, found.Left} {
					if left <= 0 || left > retention || left < min(retention, time.Hour)-Bound {
						s.Fatalf("%s: of a retention of %v, just begun, %v is left", view, retention, left)
					}
				}
			}
		}
	}},
	{"A refusal, too, replaces a record whose retention is over", func(s *scenario) {
		s.complete(s.Store, key, "old")
		s.expire(key)
		want := record("no")
		if _, err := s.claim(s.Store, key).Refuse(s.ctx, want, retention); err != nil {
			s.Fatal(err)
		}
		s.wantRecord(key, want)
	}},
	{"A record that expires while its key is claimed again may be reaped meanwhile", func(s *scenario) {
		s.complete(s.Store, key, "old")
		s.expire(key)
		attempt := s.claim(s.Store, key)
		if _, err := s.Peer.Reap(s.ctx, 10); err != nil {
			s.Fatal(err)
		}
		want := record("new")
		if _, err := attempt.Complete(s.ctx, want, retention); errors.Is(err, idempotency.ErrTransactionConflict) {
			want = s.complete(s.Store, key, "again")
		} else if err != nil {
			s.Fatal(err)
		}
		s.wantRecord(key, want)
	}},
	{"Reap deletes what is over, up to its limit, and nothing else", func(s *scenario) {
		var over []idempotency.Key
		for i := range 7 {
			k := idempotency.Key{Scope: "alice", Value: fmt.Sprint("over-", i)}
			s.complete(s.Store, k, "over")
			over = append(over, k)
		}
		kept := s.complete(s.Store, key, "kept")
		working := idempotency.Key{Scope: "alice", Value: "working"}
		attempt := s.claim(s.Store, working)
		for _, k := range over {
			s.expire(k)
		}
		for _, want := range []int{5, 2, 0} {
			if s.SelfExpiring {
				want = 0
			}
			reaped, err := s.Store.Reap(s.ctx, 5)
			if err != nil || reaped.Deleted != want || reaped.Busy {
				s.Fatalf("Reap = (%+v, %v), want %d deleted", reaped, err, want)
			}
		}
		for _, k := range over {
			s.wantAbsent(k)
		}
		s.wantRecord(key, kept)
		s.wantInProgress(s.Peer, working)
		if err := attempt.Release(s.ctx); err != nil {
			s.Fatal(err)
		}
	}},
}

func (s *scenario) expire(key idempotency.Key) {
	s.Helper()
	if err := s.Expire(s.ctx, key); err != nil {
		s.Fatal(err)
	}
}
