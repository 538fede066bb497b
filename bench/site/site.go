// Package site is where contenders meet: a schema in a PostgreSQL database, a Redis server, and long lines to both.
package site

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/redis/go-redis/v9"

	"github.com/onlyonce/onlyonce/bench/contender"
	"github.com/onlyonce/onlyonce/bench/payment"
	"github.com/onlyonce/onlyonce/migrations"
	"github.com/onlyonce/onlyonce/pgstore"
)

// Coordinates are what another process needs to work at a site.
type Coordinates struct {
	Postgres string // a URL
	Redis    string // an address; empty where there is none
	Schema   string
}

// Site is a schema with the tables of the payment and of all contenders in it.
type Site struct {
	Coordinates
	Admin *pgxpool.Pool
	// Facts are what a reader of the figures wants to know of the servers.
	Facts Facts
	// NoRedis says why there is no Redis.
	NoRedis error
	redis   *server
}

// Facts are about the servers.
type Facts struct {
	PostgreSQL, Fsync, Redis string
}

// need is how many connections the largest comparison keeps open.
const need = 100

// Open makes the schema, in the database of this URL, and starts a Redis server, or uses the one of redisURL. Close takes both away.
func Open(ctx context.Context, databaseURL, redisURL string) (*Site, error) {
	random := make([]byte, 4)
	_, _ = rand.Read(random) // never fails
	s := &Site{Coordinates: Coordinates{Postgres: databaseURL, Schema: fmt.Sprintf("onlyonce_bench_%x", random)}}
	var err error
	if s.Admin, err = s.Pool(ctx, 4); err != nil {
		return nil, err
	}
	if err := s.fill(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if s.redis, s.NoRedis = startRedis(ctx, redisURL); s.NoRedis == nil {
		s.Redis = s.redis.address
		s.Facts.Redis = s.redis.says
	}
	return s, nil
}

func (s *Site) fill(ctx context.Context) error {
	var most int
	err := s.Admin.QueryRow(ctx, `SELECT current_setting('server_version'), current_setting('fsync'), current_setting('max_connections')::int`).
		Scan(&s.Facts.PostgreSQL, &s.Facts.Fsync, &most)
	if err != nil {
		return fmt.Errorf("reach the database that DATABASE_URL names: %w", err)
	}
	if most < need {
		return fmt.Errorf("the database takes %d connections at a time: set max_connections to %d or more", most, need)
	}
	if _, err := s.Admin.Exec(ctx, `CREATE SCHEMA `+s.Schema+`; `+payment.Tables); err != nil {
		return err
	}
	for _, kind := range contender.Kinds {
		if _, err := s.Admin.Exec(ctx, kind.Tables); err != nil {
			return err
		}
	}
	sql := stdlib.OpenDBFromPool(s.Admin)
	defer sql.Close()
	provider, err := goose.NewProvider(goose.DialectPostgres, sql, migrations.FS, goose.WithTableName(migrations.VersionTable))
	if err != nil {
		return err
	}
	_, err = provider.Up(ctx)
	return err
}

// Close drops the schema and ends the Redis server.
func (s *Site) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err := s.Admin.Exec(ctx, `DROP SCHEMA IF EXISTS `+s.Schema+`, `+contender.DBOSSchema(s.Schema)+` CASCADE`)
	if err != nil {
		err = fmt.Errorf("drop the schemas %s and %s yourself: %w", s.Schema, contender.DBOSSchema(s.Schema), err)
	}
	s.Admin.Close()
	if s.redis != nil {
		err = errors.Join(err, s.redis.stop())
	}
	return err
}

// Forget empties what payments have left, so that no measurement pays for the one before it.
func (s *Site) Forget(ctx context.Context) error {
	_, err := s.Admin.Exec(ctx, `TRUNCATE payments, ledger, idempotency_keys, pending_first`)
	return err
}

// Pool opens a pool of so many connections, as the library wants them, for all contenders alike.
func (c Coordinates) Pool(ctx context.Context, connections int) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(c.Postgres)
	if err != nil {
		return nil, err
	}
	if err := pgstore.Configure(config, pgstore.PoolConfig{}); err != nil {
		return nil, err
	}
	config.MaxConns, config.MinConns = int32(connections), int32(connections)
	config.ConnConfig.RuntimeParams["search_path"] = c.Schema
	return pgxpool.NewWithConfig(ctx, config)
}

// Place opens pools for so many workers. leave closes them.
func (c Coordinates) Place(ctx context.Context, workers int) (place contender.Place, leave func(), err error) {
	pool, err := c.Pool(ctx, workers)
	if err != nil {
		return contender.Place{}, nil, err
	}
	place = contender.Place{
		Pool:     pool,
		NewPool:  c.Pool,
		Schema:   c.Schema,
		Workers:  workers,
		Payments: &payment.Maker{},
		Process:  "0",
		Stale:    time.Minute,
	}
	if c.Redis != "" {
		place.Redis = redis.NewClient(&redis.Options{Addr: c.Redis, PoolSize: workers, MinIdleConns: workers})
	}
	return place, func() {
		pool.Close()
		if place.Redis != nil {
			_ = place.Redis.Close()
		}
	}, nil
}

// at returns the same database at another address.
func at(databaseURL, address string) (string, error) {
	u, err := url.Parse(databaseURL)
	if err != nil || u.Hostname() == "" {
		return "", errors.New("the database must be given as postgres://user@host:port/database")
	}
	u.Host = address
	query := u.Query()
	query.Set("sslmode", "disable")
	u.RawQuery = query.Encode()
	return u.String(), nil
}

func addressOf(databaseURL string) (string, error) {
	u, err := url.Parse(databaseURL)
	if err != nil || u.Hostname() == "" {
		return "", errors.New("the database must be given as postgres://user@host:port/database")
	}
	port := u.Port()
	if port == "" {
		port = "5432"
	}
	return net.JoinHostPort(u.Hostname(), port), nil
}
