package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/nethttp"
	"github.com/onlyonce/onlyonce/pgstore"

	"github.com/onlyonce/onlyonce/integration/torture/protocol"
)

// leave is how long a server takes at most to end what it has begun.
const leave = 15 * time.Second

// serve runs the service, with completer and reaper, until standard input closes.
func serve(with settings) error {
	pool, err := open(with)
	if err != nil {
		return err
	}
	told := newVoice(os.Stdout)
	store, err := pgstore.NewWithConfig(pool, pgstore.Config{Schema: with.schema, Lock: pgstore.Lock(with.lock), Timeout: 2 * time.Second, ReadBackTimeout: 4 * time.Second})
	if err != nil {
		return err
	}
	engine, err := idempotency.New(store, idempotency.Config{
		Observer: told.observe, Wait: with.wait, Lease: with.lease,
		HandlerTimeout: 10 * time.Second, Retention: time.Hour, ReapInterval: with.maintenance,
	})
	if err != nil {
		return err
	}
	handler, err := routes(&service{pool: pool, provider: with.provider, voice: told}, engine, with.unprotected)
	if err != nil {
		return err
	}
	completer, err := idempotency.NewCompleter(engine, nethttp.Resume(handler, nethttp.ResumeConfig{Authenticate: asCompleter}), idempotency.CompleterConfig{
		Interval: with.maintenance, Backoff: with.maintenance, MaxBackoff: time.Second, MaxAttempts: 200,
	})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen on loopback: %w", err)
	}

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var background sync.WaitGroup
	background.Go(func() { _ = engine.Maintain(ctx) })
	background.Go(func() { _ = completer.Run(ctx) })
	web := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		told.obey(os.Stdin)
		stop()
		bounded, cancel := context.WithTimeout(context.Background(), leave)
		defer cancel()
		_ = web.Shutdown(bounded)
		ended := make(chan struct{})
		go func() { background.Wait(); close(ended) }()
		select {
		case <-ended:
		case <-bounded.Done():
		}
		os.Exit(0)
	}()
	told.say(protocol.Said{Address: listener.Addr().String()})
	if err := web.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	select {} // until the rest has ended, above
}

// open opens the pool as a service does that wants the locks of stopped servers to be gone soon.
func open(with settings) (*pgxpool.Pool, error) {
	u, err := url.Parse(with.database)
	if err != nil {
		return nil, errors.New("-database cannot be read: write postgres://user@host:port/database")
	}
	query := u.Query()
	query.Set("search_path", with.schema)
	query.Set("pool_max_conns", strconv.Itoa(with.connections))
	query.Set("connect_timeout", "3")
	u.RawQuery = query.Encode()
	return pgstore.NewPool(context.Background(), u.String(), pgstore.PoolConfig{IdleInTransaction: with.idle})
}

// asCompleter gives a request that the completer makes what a client would have sent.
func asCompleter(r *http.Request, scope string) (*http.Request, error) {
	r.Header.Set(protocol.AccountHeader, scope)
	r.Header.Set(protocol.AttemptHeader, "completer")
	return r, nil
}
