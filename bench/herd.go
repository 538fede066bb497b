package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
)

// herd sends 100 duplicates at once, to one engine and to two as two processes have them.
func (db *database) herd(ctx context.Context) (string, error) {
	line := "herd of 100, waiting on:"
	for _, processes := range []int{1, 2} {
		var engines []*idempotency.Engine
		for range processes {
			engine, err := engineOn(db.admin, idempotency.Config{Wait: time.Minute})
			if err != nil {
				return "", err
			}
			engines = append(engines, engine)
		}
		ran, same, took, err := stampede(ctx, engines, 100, db.request(), handler)
		if err != nil {
			return "", err
		}
		line += fmt.Sprintf(" %d engine(s) %d execution, %d equal answers, %v;", processes, ran, same, took.Round(time.Millisecond))
	}
	return line, nil
}

// held counts the connections that 500 duplicates hold while the handler of one of them runs.
func (db *database) held(ctx context.Context) (string, error) {
	pool, err := db.pool(ctx, 4, 0)
	if err != nil {
		return "", err
	}
	defer pool.Close()
	engine, err := engineOn(pool, idempotency.Config{Wait: time.Minute})
	if err != nil {
		return "", err
	}
	connections := int32(0)
	ran, same, _, err := stampede(ctx, []*idempotency.Engine{engine}, 500, db.request(), func(ctx context.Context) (idempotency.Response, error) {
		for range 100 { // the others have the time to ask for connections, if they do
			connections = max(connections, pool.Stat().AcquiredConns())
			time.Sleep(time.Millisecond)
		}
		return handler(ctx)
	})
	return fmt.Sprintf("500 duplicates in one process: %d execution, %d equal answers, %d connection held", ran, same, connections), err
}

// stampede runs one request many times at once, over the engines in turn.
func stampede(ctx context.Context, engines []*idempotency.Engine, size int, request idempotency.Request, handler idempotency.Handler) (ran, same int, took time.Duration, err error) {
	var mu sync.Mutex
	answers := map[string]int{}
	began := time.Now()
	var wg sync.WaitGroup
	for i := range size {
		wg.Go(func() {
			result, e := engines[i%len(engines)].Run(ctx, request, func(ctx context.Context) (idempotency.Response, error) {
				mu.Lock()
				ran++
				mu.Unlock()
				return handler(ctx)
			})
			mu.Lock()
			defer mu.Unlock()
			answers[string(result.Response.Body)]++
			if e != nil {
				err = e
			}
		})
	}
	wg.Wait()
	for _, n := range answers {
		same = max(same, n)
	}
	return ran, same, time.Since(began), err
}
