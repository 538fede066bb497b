package storetest

import (
	"context"
	"strings"

	"github.com/onlyonce/onlyonce/idempotency"
)

var claiming = []test{
	{"A claimed key is in progress for everybody else, and absent", func(s *scenario) {
		attempt := s.claim(s.Store, key)
		s.wantInProgress(s.Store, key)
		s.wantInProgress(s.Peer, key)
		s.wantAbsent(key)
		if err := attempt.Release(s.ctx); err != nil {
			s.Fatal(err)
		}
	}},
	{"Keys of different scopes, and keys that read the same when joined, are different keys", func(s *scenario) {
		keys := []idempotency.Key{
			{Scope: "a", Value: "bc"}, {Scope: "ab", Value: "c"}, {Scope: "b", Value: "bc"}, {Scope: "A", Value: "bc"},
			{Scope: "a", Value: "BC"}, {Scope: "a", Value: "bc "}, {Scope: "a", Value: "b%"}, {Scope: "a", Value: "b_"},
		}
		working := s.claim(s.Store, key)
		for _, k := range keys {
			s.complete(s.Store, k, k.Scope+k.Value)
		}
		if err := working.Release(s.ctx); err != nil {
			s.Fatal(err)
		}
		for _, k := range keys {
			s.wantRecord(k, record(k.Scope+k.Value))
		}
	}},
	{"Every key that Key.Check lets through can be stored", func(s *scenario) {
		for _, k := range []idempotency.Key{
			{Scope: strings.Repeat("s", idempotency.MaxKeyBytes), Value: strings.Repeat("k", idempotency.MaxKeyBytes)},
			{Scope: "'; DROP TABLE idempotency_keys; --", Value: `\'"$1%s`},
			{Scope: "Zürich", Value: "支払い-💸"},
			{Scope: idempotency.SharedScope, Value: " padded "},
		} {
			if err := k.Check(); err != nil {
				s.Fatal(err)
			}
			s.wantRecord(k, s.complete(s.Store, k, "long"))
		}
	}},
	{"A claim whose context has ended fails and leaves nothing behind", func(s *scenario) {
		ctx, cancel := context.WithCancel(s.ctx)
		cancel()
		if attempt, found, err := s.Store.Claim(ctx, key); err == nil {
			s.Fatalf("Claim under a cancelled context = (%v, %v), want an error", attempt, found)
		}
		s.complete(s.Peer, key, "after")
		s.wantEffects("after", 1)
	}},
	{"An attempt without a key writes, and stores nothing", func(s *scenario) {
		for _, end := range []struct {
			name string
			by   func(a idempotency.Attempt) error
			want int
		}{
			{"completed", func(a idempotency.Attempt) error { _, err := a.Complete(s.ctx, nil, retention); return err }, 1},
			{"refused", func(a idempotency.Attempt) error { _, err := a.Refuse(s.ctx, nil, retention); return err }, 0},
			{"released", func(a idempotency.Attempt) error { return a.Release(s.ctx) }, 0},
		} {
			attempt, err := s.Store.Begin(s.ctx)
			if err != nil {
				s.Fatal(err)
			}
			s.write(attempt, end.name)
			if err := end.by(attempt); err != nil {
				s.Fatalf("an attempt without a key could not be %s: %v", end.name, err)
			}
			s.wantEffects(end.name, end.want)
		}
		if reaped, err := s.Store.Reap(s.ctx, 10); err != nil || reaped.Deleted != 0 {
			s.Fatalf("Reap = (%+v, %v), want nothing", reaped, err)
		}
	}},
}
