package pgstore

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/keytable"
)

// What ShardLock and InsertClaim do otherwise where an attempt ends, or keeps how far it has come.

// queueLock queues what stands before the statements of a new transaction that keeps a refusal.
func (a *attempt) queueLock(last *ending) {
	switch s := a.store; s.config.Lock {
	case LocalLock:
		last.queue(s.sql.Lock, a.lock)
	case ShardLock:
		last.queue(s.sql.shardLock, a.key.Scope, a.key.Value, a.lock)
	case InsertClaim:
		s.bound(last.batch)
		last.bounded = true
		if a.adopted { // the transaction that had it locked is rolled back
			last.queue(s.sql.unclaim, a.key.Scope, a.key.Value, a.claim)
		}
	}
}

// queueCompleteClaim turns the claim's row into the record.
func (a *attempt) queueCompleteClaim(last *ending, retention time.Duration) {
	r := last.record.Response
	last.insertAt = last.queue(a.store.sql.completeClaim, a.key.Scope, a.key.Value, r.Status, notNil(r.Header), notNil(r.Body),
		retention.Microseconds(), a.claim, a.began, a.table, last.record.Fingerprint[:])
}

// queueSaveClaim turns the claim's row into a pending key's.
func (a *attempt) queueSaveClaim(last *ending, p idempotency.Progress, lease time.Duration) {
	last.insertAt = last.queue(a.store.sql.saveClaim, a.key.Scope, a.key.Value, p.RecoveryPoint, p.Steps, p.Request, a.row.Propose(),
		p.Attempt, p.Completions, p.LastError, lease.Microseconds(), a.claim, a.began, a.table, p.Fingerprint[:])
}

// lostBy returns why the last batch of an attempt failed, if that is something that can be with InsertClaim alone.
func (a *attempt) lostBy(err error, at int, last *ending) error {
	if a.store.config.Lock != InsertClaim || a.keyless || at > last.insertAt {
		return nil
	}
	switch sqlstate, _ := code(err); {
	case last.bounded && blocked(err) && a.row.Kept():
		return errTakenOver
	case last.bounded && blocked(err): // a refusal met another attempt
		return idempotency.ErrTransactionConflict.Because(known("pgstore: another attempt has claimed the key"))
	case a.row.Kept() || at != last.insertAt:
		return nil
	case sqlstate == endedState:
		return errEnded
	case sqlstate == "22012":
		return errMoved
	}
	return nil
}

// unclaim deletes the claim's row where err says that the handler has ended the transaction by itself: its COMMIT has committed that, too.
func (a *attempt) unclaim(ctx context.Context, err error) {
	if a.claim == nil || !errors.Is(err, idempotency.ErrTransactionEnded) {
		return
	}
	args := []any{a.key.Scope, a.key.Value, a.claim}
	if a.phase != nil && !a.conn.Conn().IsClosed() && a.status() == 'I' {
		_, _ = a.conn.Exec(ctx, a.store.sql.unclaim, args...) // if not, the next attempt takes it over
		return
	}
	if conn, acquired := a.store.acquire(ctx); acquired == nil {
		defer conn.Release()
		_, _ = conn.Exec(ctx, a.store.sql.unclaim, args...)
	}
}

// writtenBut are the arguments of the statement that tells whether the transaction has written anything but the claim's row.
func (a *attempt) writtenBut() []any {
	if a.store.config.Lock == LocalLock {
		return nil
	}
	return []any{a.table}
}

// counted are the arguments of the statement that counts pending keys.
func (a *attempt) counted(limit int) []any {
	if a.store.config.Lock == InsertClaim {
		return []any{a.key.Scope, limit, a.key.Value}
	}
	return []any{a.key.Scope, limit}
}

// giveUp ends the lease, and keeps progress; unless the lease is over and somebody has taken over.
func (a *attempt) giveUp(ctx context.Context, progress idempotency.Progress) error {
	if a.store.config.Lock == LocalLock {
		return a.write(ctx, a.store.sql.Yield, progress, 0, a.lock)
	}
	a.yields = true
	return a.write(ctx, a.store.sql.Put, progress, 0)
}

// exec changes the pending row outside of a handler's transaction. With InsertClaim whoever has taken the key over, and not saved yet,
// has the row's lock, and has won.
func (a *attempt) exec(ctx context.Context, conn *pgxpool.Conn, sql string, args ...any) (pgconn.CommandTag, error) {
	s := a.store
	if s.config.Lock == LocalLock {
		return conn.Exec(ctx, sql, args...)
	}
	batch := &pgx.Batch{}
	batch.Queue(`BEGIN ISOLATION LEVEL READ COMMITTED`)
	switch {
	case s.config.Lock == InsertClaim:
		s.bound(batch)
	case a.yields:
		batch.Queue(s.sql.shardYield, a.key.Scope, a.key.Value, a.lock)
	}
	batch.Queue(sql, args...)
	changed := batch.Len() - 1
	batch.Queue(keytable.CommitSQL)
	results := conn.SendBatch(ctx, batch)
	var tag, last pgconn.CommandTag
	var err error
	at := 0
	for ; at < batch.Len() && err == nil; at++ {
		if last, err = results.Exec(); at == changed {
			tag = last
		}
	}
	_ = results.Close()
	if err == nil {
		return tag, nil
	}
	if at-1 > changed { // of COMMIT, which may have come all the same
		return tag, unsure{err}
	}
	_, _ = conn.Exec(ctx, keytable.RollbackSQL)
	switch sqlstate, _ := code(err); {
	case sqlstate == "22012":
		return tag, errTakenOver
	case blocked(err) && s.config.Lock == InsertClaim:
		return tag, a.blockedBy(ctx, conn, err)
	}
	return tag, err
}

// blockedBy says what it means that somebody has the pending row's lock: as long as a lease is alive nobody can have taken the key over.
// Then it is a transaction of this attempt's own whose reply was lost, or an operator's, and the statement can be sent again.
func (a *attempt) blockedBy(ctx context.Context, conn *pgxpool.Conn, err error) error {
	var live bool
	switch failed := conn.QueryRow(ctx, a.store.sql.leased, a.key.Scope, a.key.Value).Scan(&live); {
	case live:
		return unsure{err}
	case failed == nil, errors.Is(failed, pgx.ErrNoRows):
		return errTakenOver
	default:
		return failed
	}
}

// unsure is an error whose kind says nothing.
type unsure struct{ err error }

func (u unsure) Error() string { return u.err.Error() }
