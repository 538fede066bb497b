package pgstore

import (
	"context"
	"crypto/rand"
	"errors"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/keytable"
)

// What ShardLock and InsertClaim do where LocalLock has lockSQL: at a claim, and at each later transaction of a chain.

// claimTries is how often a claim is tried again that another one's commit has made fail (40001), before it is told to come back.
const claimTries = 3

// claimBy is claimOnce on the connection that a has.
func (s *Store) claimBy(ctx context.Context, a *attempt, level pgx.TxIsoLevel) (*attempt, *idempotency.Record, error) {
	for tries := 1; ; tries++ {
		found, locked, err := s.tryClaim(ctx, a, level)
		if err == nil {
			return s.claimed(ctx, a, &found, locked)
		}
		if isConflict(err) && tries < claimTries {
			if _, err = a.conn.Exec(ctx, keytable.RollbackSQL); err == nil {
				continue
			}
		}
		forgetPrepared(a.conn, err)
		a.abandon()
		if blocked(err) || isConflict(err) {
			err = idempotency.ErrInProgress
		}
		return nil, nil, err
	}
}

// forgetPrepared ends a connection whose prepared statements are gone, by DISCARD ALL, say: pgx finds that out for one of them at a time.
func forgetPrepared(conn *pgxpool.Conn, err error) {
	if server := (*pgconn.PgError)(nil); errors.As(err, &server) && server.Code == "26000" {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = conn.Conn().Close(ctx)
	}
}

// tryClaim begins the transaction, and reports what is there of the key and whether nobody else is at work on it.
func (s *Store) tryClaim(ctx context.Context, a *attempt, level pgx.TxIsoLevel) (found row, locked bool, err error) {
	if s.config.Lock == ShardLock {
		return s.tryShard(ctx, a, level)
	}
	p := a.phase
	if locked, err = s.insertClaim(ctx, a, p, level, false); err != nil || locked {
		return row{}, locked, err
	}
	if err = found.scan(p.conn.QueryRow(ctx, s.sql.Read, a.key.Scope, a.key.Value)); err != nil || !found.Expired {
		return found, false, err
	}
	locked, err = s.insertClaim(ctx, a, p, level, true)
	return found, locked, err
}

// claimedPending is claimed for a row that is pending.
func (s *Store) claimedPending(ctx context.Context, a *attempt, found *row, locked bool) (*attempt, *idempotency.Record, error) {
	if s.config.Lock == LocalLock {
		return s.claimPending(ctx, a, locked)
	}
	inserts := s.config.Lock == InsertClaim
	if inserts && len(found.Fingerprint) == 0 {
		adopted, err := s.adopt(ctx, a)
		if err != nil || adopted {
			return a.unless(err), nil, err
		}
	}
	if inserts {
		live := false
		err := a.conn.QueryRow(ctx, s.sql.leased, a.key.Scope, a.key.Value).Scan(&live)
		if live || errors.Is(err, pgx.ErrNoRows) {
			err = idempotency.ErrInProgress
		}
		if err != nil {
			a.abandon()
			return nil, nil, err
		}
	}
	a, record, err := s.claimPending(ctx, a, locked || inserts) // with InsertClaim the read takes the row's lock
	if blocked(err) || isConflict(err) {
		err = idempotency.ErrInProgress
	}
	return a, record, err
}

// tryShard takes the lock on the shard's node, and reads the key behind it.
func (s *Store) tryShard(ctx context.Context, a *attempt, level pgx.TxIsoLevel) (found row, locked bool, err error) {
	err = s.lockShard(ctx, a, a.phase, level, &locked, s.sql.Read, func(read pgx.Row) error { return found.scan(read) })
	return found, locked, err
}

// lockShard begins a transaction with the shard's lock and a read behind it, in one round trip.
func (s *Store) lockShard(ctx context.Context, a *attempt, p *phase, level pgx.TxIsoLevel, locked *bool, read string, scan func(pgx.Row) error) error {
	batch := &pgx.Batch{}
	batch.BeginTx(pgx.TxOptions{IsoLevel: level})
	batch.Queue(s.sql.identity)
	batch.Queue(s.sql.shardLock, a.key.Scope, a.key.Value, a.lock)
	batch.Queue(read, a.key.Scope, a.key.Value)
	results := p.conn.SendBatch(ctx, batch)
	var standby bool
	_, err := results.Exec()
	if err == nil {
		err = results.QueryRow().Scan(&p.began, &p.table, &standby)
	}
	if err == nil {
		err = results.QueryRow().Scan(locked)
	}
	if err == nil {
		err = scan(results.QueryRow())
	}
	if closeErr := results.Close(); err == nil {
		err = closeErr
	}
	p.hold(results.Tx())
	if err == nil && standby {
		err = errStandby
	}
	return err
}

// bound queues what bounds the waiting of the statements behind it.
func (s *Store) bound(batch *pgx.Batch) {
	wait := s.config.ClaimWait.Milliseconds()
	batch.Queue(boundSQL, strconv.FormatInt(wait, 10), strconv.FormatInt(wait+1000, 10))
}

// insertClaim inserts the key's row, in a transaction that it begins, or that is open where an expired record is in the way. It reports
// whether the row is this transaction's; if not, another one is there, and nobody is about to insert or to undo one.
func (s *Store) insertClaim(ctx context.Context, a *attempt, p *phase, level pgx.TxIsoLevel, anew bool) (inserted bool, err error) {
	token := make([]byte, keytable.OwnerBytes)
	_, _ = rand.Read(token) // it never fails
	batch := &pgx.Batch{}
	if !anew {
		batch.BeginTx(pgx.TxOptions{IsoLevel: level})
	}
	s.bound(batch)
	if anew {
		batch.Queue(s.sql.DeleteExpired, a.key.Scope, a.key.Value)
	}
	batch.Queue(s.sql.insertClaim, a.key.Scope, a.key.Value, token)
	batch.Queue(s.sql.unbound)
	results := p.conn.SendBatch(ctx, batch)
	var standby bool
	if !anew {
		_, err = results.Exec()
	}
	if err == nil {
		err = results.QueryRow().Scan(nil, nil, nil, &standby)
	}
	if err == nil && anew {
		_, err = results.Exec()
	}
	if err == nil {
		tag, failed := results.Exec()
		inserted, err = tag.RowsAffected() == 1, failed
	}
	if err == nil {
		err = results.QueryRow().Scan(nil, nil, &p.began, &p.table)
	}
	if closeErr := results.Close(); err == nil {
		err = closeErr
	}
	if !anew {
		p.hold(results.Tx())
	}
	if standby { // which has refused the INSERT
		return false, errStandby
	}
	if inserted && err == nil {
		a.claim = token
	}
	return inserted, err
}

// adopt takes over the row of a claim whose handler has committed by itself and was not there any more when that would have been found
// out. What the handler has written is there; with an advisory lock, too, the key would be free. It reports false where the row is none of
// a claim: one of a pending key that somebody has damaged.
func (s *Store) adopt(ctx context.Context, a *attempt) (bool, error) {
	err := a.conn.QueryRow(ctx, s.sql.leftClaim, a.key.Scope, a.key.Value).Scan(&a.claim)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		a.abandon()
		if blocked(err) || isConflict(err) {
			err = idempotency.ErrInProgress
		}
		return false, err
	}
	a.adopted = true
	return true, nil
}

// unless returns the attempt, or nil with an error.
func (a *attempt) unless(err error) *attempt {
	if err != nil {
		return nil
	}
	return a
}

// tryBy is tryOnce on the connection that p has. With InsertClaim, locked says that no transaction which has changed the key's row, or
// inserted it, is open still, except this one.
func (a *attempt) tryBy(ctx context.Context, p *phase, level pgx.TxIsoLevel) (now look, err error) {
	s := a.store
	switch {
	case s.config.Lock == ShardLock:
		err = s.lockShard(ctx, a, p, level, &now.locked, s.sql.Look, now.scan)
		return now, err
	case a.row.Kept():
		return a.lockRow(ctx, p, level)
	}
	now.locked, err = s.insertClaim(ctx, a, p, level, false)
	if err == nil && !now.locked {
		if err = now.scan(p.conn.QueryRow(ctx, s.sql.Look, a.key.Scope, a.key.Value)); err == nil && now.Expired {
			now.locked, err = s.insertClaim(ctx, a, p, level, true)
		} else {
			now.locked = now.Present
		}
	}
	if blocked(err) || isConflict(err) { // another attempt has it, or had it: neither is this one's any more
		now.locked, now.leased, err = false, false, nil
	}
	return now, err
}

// lockRow takes the lock of the pending row, if nobody has it, and looks at the row behind it.
func (a *attempt) lockRow(ctx context.Context, p *phase, level pgx.TxIsoLevel) (now look, err error) {
	for tries := 1; ; tries++ {
		now, err = a.lockRowOnce(ctx, p, level)
		if !isConflict(err) || tries == claimTries { // the row was changed after the transaction's snapshot
			return now, err
		}
		if _, err = p.conn.Exec(ctx, keytable.RollbackSQL); err != nil {
			return look{}, err
		}
	}
}

func (a *attempt) lockRowOnce(ctx context.Context, p *phase, level pgx.TxIsoLevel) (now look, err error) {
	sql := &a.store.sql
	batch := &pgx.Batch{}
	batch.BeginTx(pgx.TxOptions{IsoLevel: level})
	batch.Queue(sql.identity)
	batch.Queue(sql.rowLock, a.key.Scope, a.key.Value)
	batch.Queue(sql.Look, a.key.Scope, a.key.Value)
	results := p.conn.SendBatch(ctx, batch)
	var standby bool
	_, err = results.Exec()
	if err == nil {
		err = results.QueryRow().Scan(&p.began, &p.table, &standby)
	}
	if err == nil {
		tag, failed := results.Exec()
		now.locked, err = tag.RowsAffected() == 1, failed
	}
	if err == nil {
		err = now.scan(results.QueryRow())
	}
	if closeErr := results.Close(); err == nil {
		err = closeErr
	}
	p.hold(results.Tx())
	if standby { // which has refused the lock
		err = errStandby
	}
	now.locked = now.locked || err == nil && !now.Present // nobody can hold what is not there
	return now, err
}

// scan reads what lookSQL finds.
func (l *look) scan(from pgx.Row) error {
	err := from.Scan(&l.State, &l.Fingerprint, &l.Status, &l.Headers, &l.Body, &l.Expired, &l.owner, &l.steps, &l.leased)
	l.Present = err == nil
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	return err
}
