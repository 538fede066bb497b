package pgstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/keytable"
)

// Claim begins a transaction, tries the key's lock and reads the key, in one round trip.
func (s *Store) Claim(ctx context.Context, key idempotency.Key) (idempotency.Attempt, *idempotency.Record, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	attempt, record, err := s.claim(ctx, key, s.config.Isolation)
	if attempt == nil { // not a nil pointer in an interface
		return nil, record, err
	}
	return attempt, nil, nil
}

// claim is Claim for a ctx that has its bound. A connection that died in the pool, or a cached plan that a migration
// outdated, is tried again: nothing has been done yet that could be done twice.
func (s *Store) claim(ctx context.Context, key idempotency.Key, level pgx.TxIsoLevel) (*attempt, *idempotency.Record, error) {
	for tries := 0; ; tries++ {
		a, record, err := s.claimOnce(ctx, key, level)
		if err == nil {
			return a, record, nil
		}
		if !s.again(ctx, err, tries) {
			return nil, nil, refusedBy(err)
		}
	}
}

func (s *Store) claimOnce(ctx context.Context, key idempotency.Key, level pgx.TxIsoLevel) (*attempt, *idempotency.Record, error) {
	conn, err := s.acquire(ctx)
	if err != nil {
		return nil, nil, err
	}
	return s.claimOn(ctx, conn, key, level)
}

// claimOn is claimOnce on conn, which it gives back unless it returns an attempt.
func (s *Store) claimOn(ctx context.Context, conn *pgxpool.Conn, key idempotency.Key, level pgx.TxIsoLevel) (*attempt, *idempotency.Record, error) {
	a := &attempt{store: s, key: key, lock: keytable.LockOf(s.sql.Namespace, key)}
	a.on(conn)
	if s.config.Lock != LocalLock {
		return s.claimBy(ctx, a, level)
	}
	asked, err := a.ask(ctx, level)
	if err == nil && asked.standby {
		err = errStandby
	}
	if err != nil {
		a.abandon()
		return nil, nil, err
	}
	return s.claimed(ctx, a, &asked.found, asked.locked)
}

// claimed says what a claim's transaction is for.
func (s *Store) claimed(ctx context.Context, a *attempt, found *row, locked bool) (*attempt, *idempotency.Record, error) {
	switch {
	case found.Present && found.State == keytable.PendingState:
		return s.claimedPending(ctx, a, found, locked)
	case found.Present && !found.Expired:
		// The client has its answer by this round trip; the transaction, which wrote nothing, ends behind its back.
		go a.abandon()
		record, err := s.settledRecord(ctx, found)
		return nil, record, err
	case !locked:
		a.abandon()
		return nil, nil, idempotency.ErrInProgress
	}
	if found.Expired {
		a.expired = &idempotency.Record{Response: idempotency.Response{Header: found.Headers, Body: found.Body}}
		if whole, err := found.Record(); err == nil { // a damaged one is replaced all the same
			a.expired = whole
		}
	}
	return a, nil, nil
}

// asked is what the server says to a claim.
type asked struct {
	locked, standby bool
	found           row
}

// ask begins the transaction, tries the lock and reads the key.
func (a *attempt) ask(ctx context.Context, level pgx.TxIsoLevel) (asked, error) {
	if w := wireOf(a.conn); w != nil {
		return w.claim(ctx, a, level)
	}
	batch := &pgx.Batch{}
	batch.BeginTx(pgx.TxOptions{IsoLevel: level})
	batch.Queue(a.store.sql.Lock, a.lock)
	batch.Queue(a.store.sql.Read, a.key.Scope, a.key.Value)
	results := a.conn.SendBatch(ctx, batch)

	var said asked
	_, err := results.Exec()
	if err == nil {
		err = results.QueryRow().Scan(&said.locked, &a.began, &a.table, &said.standby)
	}
	if err == nil {
		err = said.found.scan(results.QueryRow())
	}
	if closeErr := results.Close(); err == nil {
		err = closeErr
	}
	a.hold(results.Tx())
	return said, err
}

// Begin begins a transaction for a request without a key.
func (s *Store) Begin(ctx context.Context) (idempotency.Attempt, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	return retried(ctx, s, func() (idempotency.Attempt, error) {
		conn, err := s.acquire(ctx)
		if err != nil {
			return nil, err
		}
		tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: s.config.Isolation})
		if err != nil {
			conn.Release()
			return nil, err
		}
		a := &attempt{store: s, keyless: true}
		a.on(conn)
		a.hold(tx)
		return a, nil
	})
}

// Lookup reads the key, in one round trip and without a transaction. With a synchronous standby it is two.
func (s *Store) Lookup(ctx context.Context, key idempotency.Key) (*idempotency.Record, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	return retried(ctx, s, func() (*idempotency.Record, error) { return s.lookupOnce(ctx, key) })
}

func (s *Store) lookupOnce(ctx context.Context, key idempotency.Key) (*idempotency.Record, error) {
	conn, err := s.acquire(ctx)
	if err != nil {
		return nil, err
	}
	var found row
	if w := wireOf(conn); w != nil {
		err = w.read(ctx, s, key, &found)
	} else {
		err = found.scan(conn.QueryRow(ctx, s.sql.Read, key.Scope, key.Value))
	}
	conn.Release()
	if err != nil {
		return nil, err
	}
	if !found.Present || found.Expired || found.State == keytable.PendingState {
		return nil, nil
	}
	return s.settledRecord(ctx, &found)
}

// settledRecord returns the record of a row that a failover does not undo.
func (s *Store) settledRecord(ctx context.Context, found *row) (*idempotency.Record, error) {
	if found.Synchronous {
		if err := s.confirm(ctx); err != nil {
			return nil, err
		}
	}
	return found.Record()
}

var errStandby = idempotency.ErrStoreUnavailable.Because(errors.New(
	"pgstore: the server is in recovery, and a standby cannot tell which keys are taken: connect to the primary (target_session_attrs=read-write)"))

// refusedBy turns an error before the handler ran into what the client is told: it did not run.
func refusedBy(err error) error {
	var own *idempotency.Error
	if errors.As(err, &own) {
		return own
	}
	return idempotency.ErrStoreUnavailable.Because(explained(err))
}

// ErrNotMigrated is in the errors that running the migrations cures.
var ErrNotMigrated = errors.New("pgstore: the database is not migrated")

// explained says what to do about the errors that have one remedy.
func explained(err error) error {
	var server *pgconn.PgError
	if errors.As(err, &server) {
		switch server.Code {
		case "42P01", "3F000":
			return fmt.Errorf("%w: the table idempotency_keys is not there: run the goose migrations of package migrations: %w", ErrNotMigrated, err)
		case "42703":
			return fmt.Errorf("%w: the table idempotency_keys lacks a column: run the goose migrations of package migrations up to the newest: %w", ErrNotMigrated, err)
		case "42501":
			return fmt.Errorf("pgstore: the role may not use the table idempotency_keys: grant it SELECT, INSERT, UPDATE and DELETE: %w", err)
		}
	}
	return err
}
