package grid

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"

	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver pgx
	_ "github.com/lib/pq"              // the driver postgres
	"github.com/redis/go-redis/v9"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/pgstore"
	"github.com/onlyonce/onlyonce/redisstore"
	"github.com/onlyonce/onlyonce/sqlstore"
)

// place is where a server keeps its keys and its payments, and is handed to its process as JSON.
type place struct {
	Adapter, Store string
	URL            string // of PostgreSQL, in which the payments are, whatever the store is
	Schema         string
	Redis          string
	// Dies has the first handler that gets there kill its process, between the payment and its record.
	Dies bool
}

// till is a store, and what takes a payment the way that the store is for.
type till struct {
	store idempotency.Store
	pay   func(ctx context.Context, key string) error
}

// tills are the stores that outlive a process. With every one but redis, the payment and its record are one commit.
var tills = map[string]func(ctx context.Context, p place) (till, error){
	"pgstore":         openPgstore,
	"sqlstore on pgx": func(_ context.Context, p place) (till, error) { return openSqlstore("pgx", p) },
	"sqlstore on pq":  func(_ context.Context, p place) (till, error) { return openSqlstore("postgres", p) },
	"redisstore":      openRedisstore,
}

const insert = `INSERT INTO paid (key) VALUES ($1)`

func openPgstore(ctx context.Context, p place) (till, error) {
	pool, err := pgstore.NewPool(ctx, p.URL, pgstore.PoolConfig{})
	if err != nil {
		return till{}, err
	}
	store, err := pgstore.NewWithConfig(pool, pgstore.Config{Schema: p.Schema})
	return till{store, func(ctx context.Context, key string) error {
		_, err := pgstore.Tx(ctx).Exec(ctx, insert, key)
		return err
	}}, err
}

func openSqlstore(driver string, p place) (till, error) {
	u, err := url.Parse(p.URL)
	if err != nil {
		return till{}, errors.New("the database's URL cannot be parsed")
	}
	query := u.Query()
	query.Set("sslmode", "disable") // which lib/pq does not try by itself
	u.RawQuery = query.Encode()
	db, err := sql.Open(driver, u.String())
	if err != nil {
		return till{}, err
	}
	store, err := sqlstore.NewWithConfig(db, sqlstore.Config{Schema: p.Schema})
	return till{store, func(ctx context.Context, key string) error {
		_, err := sqlstore.Tx(ctx).ExecContext(ctx, insert, key)
		return err
	}}, err
}

// openRedisstore takes payments beside the store: each is a commit of its own.
func openRedisstore(ctx context.Context, p place) (till, error) {
	pool, err := pgxpool.New(ctx, p.URL)
	if err != nil {
		return till{}, err
	}
	store, err := redisstore.New(redis.NewClient(&redis.Options{Addr: p.Redis}), redisstore.Config{Prefix: p.Schema, Lease: lease})
	return till{store, func(ctx context.Context, key string) error {
		_, err := pool.Exec(ctx, insert, key)
		return err
	}}, err
}

func (p place) open(ctx context.Context) (till, error) {
	open, known := tills[p.Store]
	if !known {
		return till{}, fmt.Errorf("no store %q", p.Store)
	}
	return open(ctx, p)
}
