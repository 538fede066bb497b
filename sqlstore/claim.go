package sqlstore

import (
	"context"
	"database/sql"
	"errors"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/keytable"
)

// Claim begins a transaction, tries the key's lock and reads the key, in three round trips.
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
func (s *Store) claim(ctx context.Context, key idempotency.Key, level sql.IsolationLevel) (*attempt, *idempotency.Record, error) {
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

func (s *Store) claimOnce(ctx context.Context, key idempotency.Key, level sql.IsolationLevel) (*attempt, *idempotency.Record, error) {
	conn, err := s.acquire(ctx)
	if err != nil {
		return nil, nil, err
	}
	return s.claimOn(ctx, conn, key, level)
}

// claimOn is claimOnce on conn, which it gives back unless it returns an attempt.
func (s *Store) claimOn(ctx context.Context, conn *session, key idempotency.Key, level sql.IsolationLevel) (*attempt, *idempotency.Record, error) {
	a := &attempt{store: s, key: key, lock: keytable.LockOf(s.sql.Namespace, key), phase: &phase{conn: conn}}
	locked, err := s.lock(ctx, a.phase, a.lock, level)
	var found row
	if err == nil {
		err = conn.row(ctx, found.scan, s.sql.Read, key.Scope, key.Value)
	}
	if err != nil {
		a.abandon()
		return nil, nil, err
	}
	switch {
	case found.Present && found.State == keytable.PendingState:
		return s.claimPending(ctx, a, locked)
	case found.Present && !found.Expired:
		// The client has its answer by this round trip; the transaction, which wrote nothing, ends behind its back.
		go a.abandon()
		record, err := s.settledRecord(ctx, &found)
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

// lock begins a transaction and tries the lock, as a statement of its own: see keytable.
func (s *Store) lock(ctx context.Context, p *phase, number int64, level sql.IsolationLevel) (bool, error) {
	if err := p.begin(ctx, beginSQL[level]); err != nil {
		return false, err
	}
	var free, standby bool
	err := p.conn.row(ctx, into(&free, &p.began, &p.table, &standby), s.sql.Lock, number)
	switch {
	case err != nil:
		return false, err
	case standby:
		return false, errStandby
	}
	return free, nil
}

// Begin begins a transaction for a request without a key, in one round trip.
func (s *Store) Begin(ctx context.Context) (idempotency.Attempt, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	return retried(ctx, s, func() (idempotency.Attempt, error) {
		conn, err := s.acquire(ctx)
		if err != nil {
			return nil, err
		}
		a := &attempt{store: s, keyless: true, phase: &phase{conn: conn, mark: newMark()}}
		if err := a.begin(ctx, beginSQL[s.config.Isolation]+markSQL+a.mark+"'"); err != nil {
			a.abandon()
			return nil, err
		}
		return a, nil
	})
}

// Lookup reads the key, in one round trip and without a transaction. With a synchronous standby it is four.
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
	err = conn.row(ctx, found.scan, s.sql.Read, key.Scope, key.Value)
	conn.giveBack()
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

// row is what the table says of a key.
type row struct{ keytable.Row }

// scan reads what the read has found, if anything.
func (r *row) scan(from *sql.Row) error {
	var left int64
	var standbys, level string
	err := from.Scan(&r.State, &r.Fingerprint, &r.Status, &r.Headers, &r.Body, &left, &standbys, &level)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	r.Judge(left, 0, standbys, level)
	return err
}

var errStandby = idempotency.ErrStoreUnavailable.Because(errors.New(
	"sqlstore: the server is in recovery, and a standby cannot tell which keys are taken: connect to the primary (target_session_attrs=read-write)"))
