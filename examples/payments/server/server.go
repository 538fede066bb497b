// Package server wires the payments API together: configuration, database, engine, HTTP, and an orderly end.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/nethttp"
	"github.com/onlyonce/onlyonce/pgstore"

	"github.com/onlyonce/onlyonce/examples/payments/api"
	"github.com/onlyonce/onlyonce/examples/payments/cards"
	"github.com/onlyonce/onlyonce/examples/payments/echoapi"
	"github.com/onlyonce/onlyonce/examples/payments/nethttpapi"
	"github.com/onlyonce/onlyonce/examples/payments/psp"
	"github.com/onlyonce/onlyonce/examples/payments/receipts"
)

// Server is the payments API on one database.
type Server struct {
	Handler http.Handler

	pool            *pgxpool.Pool
	engine          *idempotency.Engine
	completer       *idempotency.Completer
	receipts        *receipts.Worker
	logger          *slog.Logger
	shutdownTimeout time.Duration
}

// New wires a server on pool, which it takes over: Serve closes it. It does not touch the network.
func New(pool *pgxpool.Pool, config Config, logger *slog.Logger) (*Server, error) {
	store, err := pgstore.NewWithConfig(pool, config.Store)
	if err != nil {
		return nil, err
	}
	engine, err := idempotency.New(store, idempotency.Config{
		Observer: idempotency.LogObserver(logger), Wait: config.Wait, Lease: config.Lease,
		Sealer: config.Sealer, Sealing: config.Sealing,
	})
	if err != nil {
		return nil, err
	}
	service := api.Service{
		Pool:   pool,
		Engine: engine,
		Tokens: api.NewTokens(demoTokens()),
		Cards:  cards.NewTerminal(psp.NewClient(config.PSPURL, providerClient()), config.PSPTimeout),
		Ready:  func(ctx context.Context) error { return checkTables(ctx, store, pool) },
		Logger: logger,
	}
	var handler http.Handler
	if config.Shell == "nethttp" {
		handler, err = nethttpapi.New(service)
	} else {
		handler, err = echoapi.New(service)
	}
	if err != nil {
		return nil, err
	}
	// A request that is resumed goes the way that it went when it came, but for the access log: no client sent it.
	completer, err := idempotency.NewCompleter(engine, nethttp.Resume(handler, nethttp.ResumeConfig{}),
		idempotency.CompleterConfig{Interval: config.CompleterInterval})
	if err != nil {
		return nil, err
	}
	return &Server{
		Handler:         logRequests(logger, handler),
		pool:            pool,
		engine:          engine,
		completer:       completer,
		receipts:        receipts.NewWorker(pool, receipts.ToLog(logger), logger, receipts.Config{Interval: config.ReceiptsInterval}),
		logger:          logger,
		shutdownTimeout: config.ShutdownTimeout,
	}, nil
}

// providerClient has no timeout, since each call has one, and keeps as many connections as a busy server uses.
func providerClient() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 64
	return &http.Client{Transport: transport}
}

// checkTables reports why this database cannot serve the API: not migrated, half migrated, or a standby.
func checkTables(ctx context.Context, store *pgstore.Store, pool *pgxpool.Pool) error {
	if err := store.Check(ctx); notMigrated(err) {
		return fmt.Errorf("the database is not migrated: %s: %w", migrateFirst, err)
	} else if err != nil {
		return err
	}
	return checkLedger(ctx, pool)
}

// Serve answers requests on listener until ctx ends. Then it takes no more, finishes those that run, within the
// configured time, and closes the pool. It returns nil after an orderly end.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	web := &http.Server{
		Handler:           s.Handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		// Longer than the engine lets a handler run (30 seconds) and a duplicate wait, or a finished payment could not be answered.
		WriteTimeout:   60 * time.Second,
		IdleTimeout:    2 * time.Minute,
		MaxHeaderBytes: 32 << 10,
		ErrorLog:       slog.NewLogLogger(s.logger.Handler(), slog.LevelWarn),
	}
	// Not ctx: the signal that ends the process must not cancel what runs.
	running := context.WithoutCancel(ctx)
	background := s.startBackground(running)
	defer s.closePool()

	stopped := make(chan error, 1)
	go func() { stopped <- web.Serve(listener) }()
	var failure error
	select {
	case err := <-stopped:
		failure = fmt.Errorf("serving on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	s.logger.Info("shutting down: finishing what runs", "at_most", s.shutdownTimeout)
	bounded, cancel := context.WithTimeout(running, s.shutdownTimeout)
	defer cancel()
	background.stop()
	if err := web.Shutdown(bounded); err != nil {
		_ = web.Close()
		failure = errors.Join(failure, errors.New("requests still ran when the shutdown timeout was over, and were cut off: their payments are rolled back, or done and replayed to a retry, or carried on from their last step"))
	}
	failure = errors.Join(failure, background.wait(bounded))
	if failure == nil {
		s.logger.Info("stopped")
	}
	return failure
}

// closePool waits for the connections that are in use, but not for those of handlers that were cut off: the server rolls
// back what a vanished connection has begun.
func (s *Server) closePool() {
	closed := make(chan struct{})
	go func() { s.pool.Close(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(2 * time.Second):
	}
}
