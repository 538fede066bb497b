package backend

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onlyonce/onlyonce/pgstore"
)

func openPostgres(ctx context.Context, url string, options Options) (*Backend, error) {
	// pgx puts much of a URL that it cannot read into its error, and takes the password out where it finds it: not everywhere.
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, errors.New("backend: the database URL cannot be read: " +
			"use postgres://user:password@host:5432/database?sslmode=verify-full, with what is special in a password as %40 and the like")
	}
	if err := pgstore.Configure(config, pgstore.PoolConfig{BehindPooler: options.BehindPooler}); err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), config)
	if err != nil {
		return nil, fmt.Errorf("backend: the pool of connections cannot be made: %w", err)
	}
	store, err := pgstore.NewWithConfig(pool, pgstore.Config{Schema: options.Schema, Timeout: options.Timeout})
	if err != nil {
		pool.Close()
		return nil, err
	}
	return &Backend{store, postgresName(config, options.Schema), store.Check, pool.Close}, nil
}

func postgresName(config *pgxpool.Config, schema string) string {
	conn := config.ConnConfig
	hosts := []string{fmt.Sprintf("%s:%d", conn.Host, conn.Port)}
	for _, fallback := range conn.Fallbacks {
		if host := fmt.Sprintf("%s:%d", fallback.Host, fallback.Port); host != hosts[len(hosts)-1] { // one host is tried with TLS and without
			hosts = append(hosts, host)
		}
	}
	name := "PostgreSQL at " + strings.Join(hosts, ",") + "/" + conn.Database
	if schema != "" {
		name += ", schema " + schema
	}
	return name
}
