package main

import (
	"context"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/migrations"
	"github.com/onlyonce/onlyonce/pgstore"
)

const schema = "onlyonce_bench"

// accounts are many, so that payments wait for the database and not for each other.
const accounts = 10_000

// database is a schema with the tables of the payment in it.
type database struct {
	url            string
	admin          *pgxpool.Pool
	version, fsync string
}

func open(ctx context.Context, url string) (*database, error) {
	db := &database{url: url}
	var err error
	if db.admin, err = db.pool(ctx, 4, 0); err != nil {
		return nil, err
	}
	if err := db.admin.QueryRow(ctx, `SELECT current_setting('server_version'), current_setting('fsync')`).Scan(&db.version, &db.fsync); err != nil {
		return nil, fmt.Errorf("reach the database that DATABASE_URL names: %w", err)
	}
	_, err = db.admin.Exec(ctx, `DROP SCHEMA IF EXISTS `+schema+` CASCADE; CREATE SCHEMA `+schema+`;
		CREATE TABLE accounts (id bigint PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0)) WITH (fillfactor = 50);
		CREATE TABLE payments (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account bigint NOT NULL, amount bigint NOT NULL, created_at timestamptz NOT NULL DEFAULT now());
		CREATE TABLE ledger (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, payment bigint NOT NULL, account bigint NOT NULL, amount bigint NOT NULL)`)
	if err != nil {
		return nil, err
	}
	if _, err := db.admin.Exec(ctx, `INSERT INTO accounts SELECT id, 1000000000000 FROM generate_series(1, $1) id`, accounts); err != nil {
		return nil, err
	}
	sql := stdlib.OpenDBFromPool(db.admin)
	defer sql.Close()
	provider, err := goose.NewProvider(goose.DialectPostgres, sql, migrations.FS, goose.WithTableName(migrations.VersionTable))
	if err != nil {
		return nil, err
	}
	_, err = provider.Up(ctx)
	return db, err
}

func (db *database) drop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := db.admin.Exec(ctx, `DROP SCHEMA IF EXISTS `+schema+` CASCADE`); err != nil {
		fmt.Fprintln(os.Stderr, "bench: drop the schema "+schema+" yourself:", err)
	}
	db.admin.Close()
}

// pool opens a pool over connections with the given round-trip time added.
func (db *database) pool(ctx context.Context, connections int, delay time.Duration) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(db.url)
	if err != nil {
		return nil, err
	}
	if err := pgstore.Configure(config, pgstore.PoolConfig{}); err != nil {
		return nil, err
	}
	config.MaxConns, config.MinConns = int32(connections), int32(connections)
	config.ConnConfig.RuntimeParams["search_path"] = schema
	if delay > 0 {
		config.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
			return &slow{Conn: conn, delay: delay}, err
		}
	}
	return pgxpool.NewWithConfig(ctx, config)
}

func engineOn(pool *pgxpool.Pool, config idempotency.Config) (*idempotency.Engine, error) {
	store, err := pgstore.NewWithConfig(pool, pgstore.Config{Timeout: time.Minute})
	if err != nil {
		return nil, err
	}
	return idempotency.New(store, config)
}

// querier is a transaction, or a connection in one.
type querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// payment is what is measured: four statements in three round trips, between BEGIN and COMMIT, and the response.
func payment(ctx context.Context, tx querier) (idempotency.Response, error) {
	account := 1 + mathrand.Int64N(accounts)
	var balance, id int64
	if err := tx.QueryRow(ctx, `UPDATE accounts SET balance = balance - 100 WHERE id = $1 RETURNING balance`, account).Scan(&balance); err != nil {
		return idempotency.Response{}, err
	}
	if err := tx.QueryRow(ctx, `INSERT INTO payments (account, amount) VALUES ($1, 100) RETURNING id`, account).Scan(&id); err != nil {
		return idempotency.Response{}, err
	}
	_, err := tx.Exec(ctx, `INSERT INTO ledger (payment, account, amount) VALUES ($1, $2, -100), ($1, 0, 100)`, id, account)
	return idempotency.Response{
		Status: 201,
		Header: fmt.Appendf(nil, "Content-Type: application/json\r\nLocation: /api/v1/payments/%d\r\n", id),
		Body:   fmt.Appendf(nil, `{"id":%d,"amount":100,"currency":"USD","status":"succeeded"}`, id),
	}, err
}

// request returns a request with a fresh key, as a client would make one.
func (db *database) request() idempotency.Request {
	var fingerprinter *idempotency.Fingerprinter
	return idempotency.Request{
		Key:         idempotency.Key{Scope: "account-4711", Value: uuid4()},
		Fingerprint: fingerprinter.Sum([]byte(`{"amount":100,"currency":"USD"}`), "POST", "/api/v1/payments", "", "application/json"),
	}
}

// slow is a connection over which an answer takes a round-trip time longer.
type slow struct {
	net.Conn
	delay time.Duration
	asked atomic.Bool
}

func (s *slow) Write(b []byte) (int, error) {
	s.asked.Store(true)
	return s.Conn.Write(b)
}

func (s *slow) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	if s.asked.Swap(false) {
		time.Sleep(s.delay)
	}
	return n, err
}
