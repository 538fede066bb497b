package protocol

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/idempotency/storetest"
	"github.com/onlyonce/onlyonce/internal/pgbouncer"
	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/pgstore"
)

// A store on the functions passes the suite of every store, as far as it goes without recovery points; beside one of pgstore, as its peer, too.
func TestAStoreOnTheFunctionsConforms(t *testing.T) {
	t.Parallel()
	for _, beside := range []string{"its like", "pgstore"} {
		t.Run("beside "+beside, func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, func(t *testing.T) storetest.Subject {
				return subject(t, beside == "pgstore", func(schema string) *pgxpool.Pool {
					return pgtest.Pool(t, schema, func(c *pgxpool.Config) { c.MaxConns = 16 })
				})
			})
		})
	}
}

// What a session has between two transactions is somebody else's behind a pooler. The functions need nothing of it.
func TestAStoreOnTheFunctionsConformsBehindPgBouncer(t *testing.T) {
	t.Parallel()
	// More than one test holds at a time, and fewer than the clients have.
	bouncer := pgbouncer.Start(t, pgtest.URL(t), pgbouncer.Options{Connections: 50})
	storetest.Run(t, func(t *testing.T) storetest.Subject {
		return subject(t, false, func(string) *pgxpool.Pool {
			config, err := pgxpool.ParseConfig(bouncer.URL)
			require.NoError(t, err)
			require.NoError(t, pgstore.Configure(config, pgstore.PoolConfig{BehindPooler: true}))
			config.MaxConns = 16
			pool, err := pgxpool.NewWithConfig(t.Context(), config)
			require.NoError(t, err)
			t.Cleanup(pool.Close)
			return pool
		})
	})
}

// subject is a store on the functions, on a pool of its own, beside one of pgstore or another of its like. What acts from outside goes straight
// to the server.
func subject(t *testing.T, besidePgstore bool, open func(schema string) *pgxpool.Pool) storetest.Subject {
	schema := pgtest.Schema(t)
	pgtest.Functions(t, schema, schema)
	outside, pool := pgtest.Pool(t, schema), open(schema)
	_, err := outside.Exec(t.Context(), `CREATE TABLE effects (name text NOT NULL)`)
	require.NoError(t, err)
	reaper, err := pgstore.NewWithConfig(pool, pgstore.Config{Schema: schema})
	require.NoError(t, err)
	var peer idempotency.Store = reaper
	if !besidePgstore {
		peer = &functionStore{pool, schema, reaper}
	}
	return storetest.Subject{
		Store: &functionStore{pool, schema, reaper}, Peer: peer,
		Expire: func(ctx context.Context, key idempotency.Key) error {
			_, err := outside.Exec(ctx, `UPDATE idempotency_keys SET expires_at = now() - interval '1 second', leased_until = leased_until - interval '1 day' WHERE scope = $1 AND key = $2`, key.Scope, key.Value)
			return err
		},
		EndLease: func(ctx context.Context, key idempotency.Key) error {
			_, err := outside.Exec(ctx, `UPDATE idempotency_keys SET leased_until = now() - interval '1 second' WHERE scope = $1 AND key = $2`, key.Scope, key.Value)
			return err
		},
		Write: func(ctx context.Context, name string) error {
			_, err := txOf(ctx).Exec(ctx, `INSERT INTO `+schema+`.effects VALUES ($1)`, name)
			return err
		},
		Effects: func(ctx context.Context, name string) (n int, err error) {
			err = outside.QueryRow(ctx, `SELECT count(*) FROM effects WHERE name = $1`, name).Scan(&n)
			return n, err
		},
		Crash: func(ctx context.Context) error {
			var backend uint32 // what the connection knows may be a pooler's own number
			if err := txOf(ctx).QueryRow(ctx, `SELECT pg_backend_pid()`).Scan(&backend); err != nil {
				return err
			}
			_, err := outside.Exec(ctx, `SELECT pg_terminate_backend($1)`, backend)
			return err
		},
	}
}

type txKey struct{}

// txOf is the transaction of an attempt on either store.
func txOf(ctx context.Context) pgx.Tx {
	if tx, ok := ctx.Value(txKey{}).(pgx.Tx); ok {
		return tx
	}
	return pgstore.Tx(ctx)
}

// functionStore is a store on the functions. What they have no word for, reaping and transactions without a key, is pgstore's.
type functionStore struct {
	pool   *pgxpool.Pool
	schema string
	*pgstore.Store
}

// A functionStore keeps no recovery points: pgstore's listing of them is not its.
var _ idempotency.Store = (*functionStore)(nil)

func (s *functionStore) Claim(ctx context.Context, key idempotency.Key) (idempotency.Attempt, *idempotency.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, soon)
	defer cancel()
	for {
		a, record, err := s.claim(ctx, key)
		switch {
		case errors.Is(err, errMismatch): // it was completed after its fingerprint was looked up
		case a != nil:
			return a, nil, nil
		case err == nil || errors.Is(err, idempotency.ErrInProgress):
			return nil, record, err
		default:
			return nil, nil, idempotency.ErrStoreUnavailable.Because(err)
		}
	}
}

var errMismatch = errors.New("mismatch")

// claim begins key. The suite's stores are not told which request asks, so the fingerprint is the one that is there.
func (s *functionStore) claim(ctx context.Context, key idempotency.Key) (*functionAttempt, *idempotency.Record, error) {
	tx, err := s.pool.Begin(ctx)
	if err != nil {
		return nil, nil, err
	}
	print := make([]byte, idempotency.FingerprintSize)
	var outcome string
	var status *int
	record := &idempotency.Record{}
	err = tx.QueryRow(ctx, `SELECT fingerprint FROM `+s.schema+`.idempotency_keys WHERE scope = $1 AND key = $2`, key.Scope, key.Value).Scan(&print)
	if err == nil || errors.Is(err, pgx.ErrNoRows) {
		err = tx.QueryRow(ctx, `SELECT outcome, status, headers, body FROM `+s.schema+`.idempotency_begin($1, $2, $3)`, key.Scope, key.Value, print).
			Scan(&outcome, &status, &record.Response.Header, &record.Response.Body)
	}
	if err == nil && outcome == "execute" {
		return &functionAttempt{store: s, key: key, print: print, tx: tx}, nil, nil
	}
	if err == nil && outcome == "replay" {
		err = tx.QueryRow(ctx, `SELECT expires_at - clock_timestamp() FROM `+s.schema+`.idempotency_keys WHERE scope = $1 AND key = $2`, key.Scope, key.Value).Scan(&record.Left)
	}
	_ = tx.Rollback(ctx)
	switch {
	case err != nil:
		return nil, nil, err
	case outcome == "replay":
		record.Response.Status = *status
		copy(record.Fingerprint[:], print)
		return nil, record, nil
	case outcome == "mismatch":
		return nil, nil, errMismatch
	}
	return nil, nil, idempotency.ErrInProgress
}

type functionAttempt struct {
	store *functionStore
	key   idempotency.Key
	print []byte
	tx    pgx.Tx

	mu   sync.Mutex
	over bool
}

func (a *functionAttempt) Context(ctx context.Context) context.Context {
	return context.WithValue(ctx, txKey{}, a.tx)
}

func (a *functionAttempt) end() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	first := !a.over
	a.over = true
	return first
}

func (a *functionAttempt) Complete(ctx context.Context, record *idempotency.Record, retention time.Duration) (idempotency.Settled, error) {
	if !a.end() {
		return idempotency.Settled{}, errors.New("the attempt is over")
	}
	return a.complete(ctx, a.tx, record, retention)
}

func (a *functionAttempt) complete(ctx context.Context, tx pgx.Tx, record *idempotency.Record, retention time.Duration) (idempotency.Settled, error) {
	ctx, cancel := context.WithTimeout(ctx, soon)
	defer cancel()
	// The one place where the fingerprint is given another value than it was begun with: see claim.
	_, err := tx.Exec(ctx, `SELECT set_config('onlyonce.claims', replace(current_setting('onlyonce.claims'), encode($1, 'hex'), encode($2, 'hex')), true)`, a.print, record.Fingerprint[:])
	if err == nil {
		_, err = tx.Exec(ctx, `SELECT `+a.store.schema+`.idempotency_complete($1, $2, $3, $4, $5, $6, $7)`,
			a.key.Scope, a.key.Value, record.Fingerprint[:], record.Response.Status, record.Response.Header, record.Response.Body, retention)
	}
	if err != nil {
		_ = tx.Rollback(ctx)
		var server *pgconn.PgError
		if !errors.As(err, &server) || server.Code != duplicate {
			return idempotency.Settled{}, idempotency.ErrStoreUnavailable.Because(err)
		}
		winner, err := a.store.Lookup(ctx, a.key)
		if winner == nil && err == nil {
			err = idempotency.ErrTransactionConflict
		}
		return idempotency.Settled{Record: winner}, err
	}
	if err := tx.Commit(ctx); err != nil {
		return idempotency.Settled{}, idempotency.ErrOutcomeUnknown.Because(err)
	}
	return idempotency.Settled{Record: record}, nil
}

func (a *functionAttempt) Refuse(ctx context.Context, record *idempotency.Record, retention time.Duration) (idempotency.Settled, error) {
	if err := a.Release(ctx); err != nil {
		return idempotency.Settled{}, err
	}
	for {
		other, found, err := a.store.Claim(ctx, a.key)
		switch {
		case found != nil:
			return idempotency.Settled{Record: found}, nil
		case err == nil:
			again := other.(*functionAttempt)
			return again.complete(ctx, again.tx, record, retention)
		case !errors.Is(err, idempotency.ErrInProgress):
			return idempotency.Settled{}, fmt.Errorf("the refusal was not kept: %w", err)
		}
	}
}

func (a *functionAttempt) Release(ctx context.Context) error {
	if !a.end() {
		return errors.New("the attempt is over")
	}
	return a.tx.Rollback(ctx)
}
