package pgstore

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/keytable"
)

// Config configures a [Store]. The zero value works; [NewWithConfig] copies it.
type Config struct {
	// Schema is where the table idempotency_keys is. Default: the search_path decides. Name it where one database has
	// several such tables: advisory locks belong to the database, and without a name the tables' equal keys turn each
	// other away. Name it in all processes or in none: the lock of a key is another one with the name than without. It is quoted,
	// whatever is in it; PostgreSQL takes up to 63 bytes of UTF-8 without NUL, and any other name is an error.
	Schema string
	// Isolation is the isolation level of the handler's transaction. Default: READ COMMITTED, whatever the server's own
	// default is. Under the others a duplicate can run the handler too; the primary key still lets one of them commit.
	Isolation pgx.TxIsoLevel
	// Lock is what keeps two attempts off one key. Default: LocalLock, which is right wherever all connections lead to one PostgreSQL
	// server. See docs/scaling.md for the others.
	Lock Lock
	// ClaimWait bounds how long a claim waits for the transaction of another one, with InsertClaim alone: in whole
	// milliseconds, by lock_timeout; where that is not heard of, on the other nodes of a distributed engine, by a statement_timeout
	// that is a second longer. The claim holds a connection meanwhile. Less than Timeout. Default: 100 milliseconds.
	ClaimWait time.Duration
	// Reaper deletes what has expired. Default: with LocalLock one that takes no row which somebody works on, else one whose statement runs
	// on distributed tables, too.
	Reaper Reaper
	// Timeout bounds each of the store's own round trips: claim, commit, roll-back. Waiting for a free connection of the
	// pool is part of a claim. Default: 5 seconds.
	Timeout time.Duration
	// ReadBackTimeout bounds how long the outcome of a commit is looked for whose reply was lost, before the client
	// is told [idempotency.ErrOutcomeUnknown]. Default: 10 seconds.
	ReadBackTimeout time.Duration
}

// Store implements [idempotency.Store] on a pgx pool.
type Store struct {
	pool   *pgxpool.Pool
	config Config
	sql    statements

	patient       bool // the reaper may wait for an attempt in vain
	confirmations keytable.Confirmations
	reaping       keytable.Reaping
	observed      atomic.Bool // that a claim excludes another one
}

var _ idempotency.Transactional = (*Store)(nil)

// New returns a Store on pool with the default configuration. It opens no connection; call [Store.Check] at start.
func New(pool *pgxpool.Pool) *Store {
	store, err := NewWithConfig(pool, Config{})
	if err != nil {
		panic(err) // the zero Config is valid
	}
	return store
}

// NewWithConfig is [New] with a configuration, or an error that says what is wrong with it.
func NewWithConfig(pool *pgxpool.Pool, config Config) (*Store, error) {
	switch config.Isolation {
	case "":
		config.Isolation = pgx.ReadCommitted
	case pgx.ReadCommitted, pgx.RepeatableRead, pgx.Serializable:
	default:
		return nil, fmt.Errorf("pgstore: Config.Isolation is %q: use pgx.ReadCommitted, pgx.RepeatableRead or pgx.Serializable", config.Isolation)
	}
	if err := keytable.CheckSchema(config.Schema); err != nil {
		return nil, fmt.Errorf("pgstore: %w", err)
	}
	lock, err := config.Lock.check()
	if err != nil {
		return nil, err
	}
	config.Lock = lock
	if config.Timeout == 0 {
		config.Timeout = 5 * time.Second
	}
	if config.ReadBackTimeout == 0 {
		config.ReadBackTimeout = 10 * time.Second
	}
	if config.ClaimWait == 0 {
		config.ClaimWait = defaultClaimWait
	}
	if config.ClaimWait < time.Millisecond {
		return nil, errors.New("pgstore: Config.ClaimWait must be a millisecond or more, or 0 for the default")
	}
	if config.Timeout < 0 || config.ReadBackTimeout < 0 {
		return nil, errors.New("pgstore: Config.Timeout and Config.ReadBackTimeout must be positive, or 0 for the default")
	}
	if config.ClaimWait >= config.Timeout && config.Lock == InsertClaim {
		return nil, errors.New("pgstore: Config.ClaimWait must be less than Config.Timeout, which bounds all of a claim")
	}
	sql := newStatements(config.Schema, config.Lock)
	patient := config.Reaper != nil || config.Lock != LocalLock
	if config.Reaper == nil {
		config.Reaper = sql.reaper(config.Lock)
	}
	return &Store{pool: pool, config: config, sql: sql, patient: patient}, nil
}

// Transactional reports true: what is written by [Tx] and the response are one commit.
func (s *Store) Transactional() bool { return true }

// acquire takes a connection from the pool.
func (s *Store) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	if s.pool == nil {
		return nil, errors.New("pgstore: the store has no pool: pass one to pgstore.New")
	}
	return s.pool.Acquire(ctx)
}
