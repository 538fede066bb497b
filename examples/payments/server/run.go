package server

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onlyonce/onlyonce/pgstore"
)

// Run does what the configuration asks for, until it is done or ctx ends. What is meant for a person goes to out, logs go to
// logger.
func Run(ctx context.Context, config Config, out io.Writer, logger *slog.Logger) error {
	if config.Command == Migrate || config.Demo {
		if err := MigrateDatabase(ctx, config.DatabaseURL, logger); err != nil || config.Command == Migrate {
			return err
		}
	}
	pool, err := openPool(ctx, config)
	if err != nil {
		return err
	}
	if err := prepare(ctx, config, pool); err != nil || config.Command == Seed {
		pool.Close()
		return err
	}
	server, err := New(pool, config, logger)
	if err != nil {
		pool.Close()
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", config.ListenAddr)
	if err != nil {
		pool.Close()
		return fmt.Errorf("cannot listen on %s: choose another address by LISTEN_ADDR or -listen: %w", config.ListenAddr, err)
	}
	logger.Info("serving", "address", listener.Addr().String(), "http", config.Shell)
	if config.Demo {
		printDemo(out, listener.Addr(), config.PSPURL)
	}
	return server.Serve(ctx, listener)
}

// prepare refuses a database that cannot serve, before the first request finds out.
func prepare(ctx context.Context, config Config, pool *pgxpool.Pool) error {
	if err := checkTables(ctx, pgstore.New(pool), pool); err != nil {
		return err
	}
	if config.Command == Seed || config.Demo {
		return SeedDatabase(ctx, pool)
	}
	return nil
}
