package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/onlyonce/onlyonce/idempotency"
)

const (
	racers = 8
	races  = 50
)

var racing = []test{
	{"Of many racers for a key, on both views, one attempt takes effect", func(s *scenario) {
		for race := range races {
			k := idempotency.Key{Scope: "alice", Value: fmt.Sprint("race-", race)}
			var completed atomic.Int32
			var wg sync.WaitGroup
			for racer := range racers {
				wg.Go(func() {
					store := s.Store
					if racer%2 == 1 {
						store = s.Peer
					}
					name := fmt.Sprint("race-", race, "-", racer)
					for {
						attempt, found, err := store.Claim(s.ctx, k)
						if errors.Is(err, idempotency.ErrInProgress) {
							continue
						}
						if err != nil {
							s.Errorf("Claim: %v", err)
							return
						}
						if found != nil {
							return
						}
						s.write(attempt, fmt.Sprint("race-", race))
						mine := record(name)
						settled, err := attempt.Complete(s.ctx, mine, retention)
						if err != nil {
							s.Errorf("Complete: %v", err)
							return
						}
						if settled.Record == mine {
							completed.Add(1)
						}
						return
					}
				})
			}
			wg.Wait()
			if completed.Load() != 1 {
				s.Fatalf("race %d: %d attempts completed, want 1", race, completed.Load())
			}
			s.wantEffects(fmt.Sprint("race-", race), 1)
		}
	}},
	{"Engines over both views run a herd's handler once, and answer all alike", func(s *scenario) {
		var engines []*idempotency.Engine
		for _, store := range []idempotency.Store{s.Store, s.Peer} {
			engine, err := idempotency.New(store, idempotency.Config{Wait: Bound})
			if err != nil {
				s.Fatal(err)
			}
			engines = append(engines, engine)
		}
		var runs atomic.Int32
		var answer sync.Map
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				result, err := engines[i%2].Run(s.ctx, idempotency.Request{Key: key}, func(ctx context.Context) (idempotency.Response, error) {
					if s.Write != nil {
						if err := s.Write(ctx, "herd"); err != nil {
							return idempotency.Response{}, err
						}
					}
					return idempotency.Response{Status: 201, Body: fmt.Append(nil, "run ", runs.Add(1))}, nil
				})
				if err != nil {
					s.Errorf("Run: %v", err)
				}
				answer.Store(string(result.Response.Body), true)
			})
		}
		wg.Wait()
		if runs.Load() != 1 && !s.Optimistic {
			s.Fatalf("the handler ran %d times", runs.Load())
		}
		answers := 0
		answer.Range(func(body, _ any) bool { answers++; s.Log(body); return true })
		if answers != 1 {
			s.Fatalf("the herd got %d different answers", answers)
		}
		s.wantEffects("herd", 1)
	}},
}
