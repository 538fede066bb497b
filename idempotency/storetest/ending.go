package storetest

import (
	"bytes"

	"github.com/onlyonce/onlyonce/idempotency"
)

var ending = []test{
	{"A completed attempt leaves its writes and its record, byte for byte", func(s *scenario) {
		want := s.complete(s.Store, key, "paid")
		s.wantEffects("paid", 1)
		s.wantRecord(key, want)
	}},
	{"A refused attempt leaves its record and none of its writes", func(s *scenario) {
		attempt := s.claim(s.Store, key)
		s.write(attempt, "refused")
		want := record("refused")
		settled, err := attempt.Refuse(s.ctx, want, retention)
		if err != nil || settled.Record != want {
			s.Fatalf("Refuse = (%+v, %v), want the record that was passed in", settled, err)
		}
		s.wantEffects("refused", 0)
		s.wantRecord(key, want)
	}},
	{"A released attempt leaves nothing, and the key is free at once", func(s *scenario) {
		attempt := s.claim(s.Store, key)
		s.write(attempt, "released")
		if err := attempt.Release(s.ctx); err != nil {
			s.Fatal(err)
		}
		s.wantEffects("released", 0)
		s.wantAbsent(key)
		s.complete(s.Peer, key, "retried")
		s.wantEffects("retried", 1)
	}},
	{"An attempt is ended once: every later call fails and changes nothing", func(s *scenario) {
		for _, end := range []struct {
			name string
			by   func(a idempotency.Attempt, r *idempotency.Record) error
		}{
			{"Complete", func(a idempotency.Attempt, r *idempotency.Record) error {
				_, err := a.Complete(s.ctx, r, retention)
				return err
			}},
			{"Refuse", func(a idempotency.Attempt, r *idempotency.Record) error {
				_, err := a.Refuse(s.ctx, r, retention)
				return err
			}},
			{"Release", func(a idempotency.Attempt, _ *idempotency.Record) error { return a.Release(s.ctx) }},
		} {
			k := idempotency.Key{Scope: "alice", Value: end.name}
			attempt := s.claim(s.Store, k)
			want := record("first")
			if _, err := attempt.Complete(s.ctx, want, retention); err != nil {
				s.Fatal(err)
			}
			if err := end.by(attempt, record("second")); err == nil {
				s.Fatalf("%s of an attempt that is over returned nil", end.name)
			}
			s.wantRecord(k, want)
		}
	}},
	{"What the handler's context carries is dead once the attempt is over", func(s *scenario) {
		if s.Write == nil {
			s.Skip("the store has no transaction")
		}
		for name, end := range map[string]func(a idempotency.Attempt) error{
			"late after complete": func(a idempotency.Attempt) error {
				_, err := a.Complete(s.ctx, record("x"), retention)
				return err
			},
			"late after release": func(a idempotency.Attempt) error { return a.Release(s.ctx) },
		} {
			attempt := s.claim(s.Store, idempotency.Key{Scope: "alice", Value: name})
			ctx := attempt.Context(s.ctx)
			if err := end(attempt); err != nil {
				s.Fatal(err)
			}
			if err := s.Write(ctx, name); err == nil {
				s.Fatal("a write after the end of the attempt succeeded")
			}
			s.wantEffects(name, 0)
		}
	}},
	{"Empty, missing and large parts of a response come back as they were", func(s *scenario) {
		for name, response := range map[string]idempotency.Response{
			"status alone":   {Status: 204},
			"nothing at all": {},
			"a large body":   {Status: 200, Body: bytes.Repeat([]byte("0123456789abcdef"), 1<<16)},
			"no header":      {Status: 200, Body: []byte("{}")},
		} {
			k := idempotency.Key{Scope: "alice", Value: name}
			want := &idempotency.Record{Response: response}
			if _, err := s.claim(s.Store, k).Complete(s.ctx, want, retention); err != nil {
				s.Fatal(err)
			}
			s.wantRecord(k, want)
		}
	}},
}
