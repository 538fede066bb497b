package stack

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/pgstore"
)

// settings are what a server is started with. They are handed to a process as JSON.
type settings struct {
	URL               string
	Schema            string            // "": the URL's search_path
	Mode              pgx.QueryExecMode // 0: pgx's default
	Connections       int               // 0: 4
	Wait              time.Duration
	IdleInTransaction time.Duration
	Transaction       time.Duration // by the server's clock, since PostgreSQL 17
	Timeout           time.Duration // of the store's round trips
	HandlerTimeout    time.Duration
	BehindPooler      bool
	Lock              pgstore.Lock // "": that of the run
	Driver            string       // of database/sql, for sqlstore; "": pgstore
}

// lockVariable is the lock with which servers keep keys that are told nothing else, in their own processes too: make crashes LOCK=insert.
const lockVariable = "ONLYONCE_LOCK"

// locks are those that are not the default.
var locks = []pgstore.Lock{pgstore.ShardLock, pgstore.InsertClaim}

func (s settings) pool(ctx context.Context) (*pgxpool.Pool, error) {
	u, err := url.Parse(s.URL)
	if err != nil {
		return nil, fmt.Errorf("the database's URL: %w", err)
	}
	query := u.Query()
	if s.Connections == 0 {
		s.Connections = 4
	}
	query.Set("pool_max_conns", strconv.Itoa(s.Connections))
	if s.Mode != 0 {
		query.Set("default_query_exec_mode", strings.ReplaceAll(s.Mode.String(), " ", "_"))
	}
	u.RawQuery = query.Encode()
	return pgstore.NewPool(ctx, u.String(), pgstore.PoolConfig{
		IdleInTransaction: s.IdleInTransaction,
		Transaction:       s.Transaction,
		BehindPooler:      s.BehindPooler,
	})
}

func (s settings) engine(pool *pgxpool.Pool, observer idempotency.Observer) (*idempotency.Engine, error) {
	// Named, because the locks of all schemas of a database are in one space, and the tests run at once.
	if s.Schema == "" {
		u, err := url.Parse(s.URL)
		if err != nil {
			return nil, err
		}
		s.Schema = u.Query().Get("search_path")
	}
	if s.Lock == "" {
		s.Lock = pgstore.Lock(os.Getenv(lockVariable))
	}
	store, err := s.store(pool)
	if err != nil {
		return nil, err
	}
	return idempotency.New(store, idempotency.Config{
		Wait:             s.Wait,
		HandlerTimeout:   s.HandlerTimeout,
		Observer:         observer,
		MaxResponseBytes: maxResponse,
	})
}

func (s settings) store(pool *pgxpool.Pool) (idempotency.Store, error) {
	if s.Driver != "" {
		return s.sqlStore()
	}
	return pgstore.NewWithConfig(pool, pgstore.Config{Schema: s.Schema, Lock: s.Lock, Timeout: s.Timeout, ReadBackTimeout: s.Timeout})
}

// maxResponse is the largest response that is kept.
const maxResponse = 4096
