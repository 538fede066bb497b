package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/keytable"
)

// Config configures a [Store]. The zero value works; [NewWithConfig] copies it.
type Config struct {
	// Schema is where the table idempotency_keys is. Default: the search_path decides. Name it where one database has
	// several such tables: advisory locks belong to the database, and without a name the tables' equal keys turn each
	// other away. Name it in all processes or in none, those on pgstore among them: the lock of a key is another one with the name
	// than without. It is quoted, whatever is in it; PostgreSQL takes up to 63 bytes of UTF-8 without NUL, and any other name
	// is an error.
	Schema string
	// Isolation is the isolation level of the handler's transaction: sql.LevelReadCommitted, sql.LevelRepeatableRead or
	// sql.LevelSerializable. Default: READ COMMITTED, whatever the server's own default is. Under the others a duplicate can run
	// the handler too; the primary key still lets one of them commit.
	Isolation sql.IsolationLevel
	// Timeout bounds each of the store's own steps: claim, commit, roll-back. Waiting for a free connection of the pool is part
	// of a claim. Default: 5 seconds.
	Timeout time.Duration
	// ReadBackTimeout bounds how long the outcome of a commit is looked for whose reply was lost, before the client
	// is told [idempotency.ErrOutcomeUnknown]. Default: 10 seconds.
	ReadBackTimeout time.Duration
	// Notices lets the store hear the server's remarks on a COMMIT. Needed where commits wait for a synchronous standby:
	// see [Notices]. Default: they are not heard.
	Notices Notices
}

// Store implements [idempotency.Store] on a database/sql pool. Its lock is pgstore's LocalLock: for one PostgreSQL server, or
// a distributed one with one entry node.
type Store struct {
	db     *sql.DB
	config Config
	sql    statements

	confirmations keytable.Confirmations
	reaping       keytable.Reaping
	observed      atomic.Bool // that a claim excludes another one
}

var (
	_ idempotency.Store         = (*Store)(nil)
	_ idempotency.Transactional = (*Store)(nil)
)

// Transactional reports true: what is written by [Tx] and the response are one commit.
func (s *Store) Transactional() bool { return true }

// New returns a Store on db with the default configuration. It opens no connection; call [Store.Check] at start.
func New(db *sql.DB) *Store {
	store, err := NewWithConfig(db, Config{})
	if err != nil {
		panic(err) // the zero Config is valid
	}
	return store
}

// NewWithConfig is [New] with a configuration, or an error that says what is wrong with it.
func NewWithConfig(db *sql.DB, config Config) (*Store, error) {
	if config.Isolation == sql.LevelDefault {
		config.Isolation = sql.LevelReadCommitted
	}
	if beginSQL[config.Isolation] == "" {
		return nil, fmt.Errorf("sqlstore: Config.Isolation is %q: use sql.LevelReadCommitted, sql.LevelRepeatableRead or sql.LevelSerializable", config.Isolation)
	}
	if err := keytable.CheckSchema(config.Schema); err != nil {
		return nil, fmt.Errorf("sqlstore: %w", err)
	}
	if config.Timeout == 0 {
		config.Timeout = 5 * time.Second
	}
	if config.ReadBackTimeout == 0 {
		config.ReadBackTimeout = 10 * time.Second
	}
	if config.Timeout < 0 || config.ReadBackTimeout < 0 {
		return nil, errors.New("sqlstore: Config.Timeout and Config.ReadBackTimeout must be positive, or 0 for the default")
	}
	return &Store{db: db, config: config, sql: newStatements(config.Schema)}, nil
}

// acquire sets a connection of the pool aside.
func (s *Store) acquire(ctx context.Context) (*session, error) {
	if s.db == nil {
		return nil, connectError{errors.New("sqlstore: the store has no database: pass one to sqlstore.New")}
	}
	on := &session{}
	connected := make(chan *sql.Conn, 1)
	err := on.bounded(ctx, func() error { // lib/pq dials by ctx, and then waits for the server's greeting without it
		defer close(connected)
		conn, err := s.db.Conn(ctx)
		if err == nil {
			connected <- conn
		}
		return err
	})
	if err == errHung {
		go func() {
			if late, ok := <-connected; ok {
				_ = late.Close() // nobody has used it: it is the pool's
			}
		}()
	}
	if err != nil {
		return nil, connectError{err}
	}
	on.conn = <-connected
	return on, nil
}

// connectError is that of a connection which could not be had.
type connectError struct{ error }

func (e connectError) Unwrap() error { return e.error }

// bounded returns ctx with the store's own bound.
func (s *Store) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, s.config.Timeout)
}
