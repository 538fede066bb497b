package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
)

// A chain's transactions are serialized by the key's lock, as a single one is; what decides which attempt gets on is the owner
// token in the pending row, compared by each statement that changes it. Between two transactions nothing is held.

var _ idempotency.Chain = (*attempt)(nil)

// claimPending goes on with the claim of a key that is pending.
func (s *Store) claimPending(ctx context.Context, a *attempt, locked bool) (*attempt, *idempotency.Record, error) {
	if !locked {
		a.abandon()
		return nil, nil, idempotency.ErrInProgress
	}
	var p idempotency.Progress
	var fingerprint []byte
	var live bool
	err := a.conn.row(ctx, into(&fingerprint, &p.RecoveryPoint, &p.Steps, &p.Request, &a.row.Owner, &p.Attempt, &p.Completions, &p.LastError, &live),
		s.sql.Chain, a.key.Scope, a.key.Value)
	if err == nil {
		err = a.row.Resumable(&p, fingerprint)
	}
	switch {
	case errors.Is(err, sql.ErrNoRows), err == nil && live: // the former: it was completed just now; the next claim sees it
		err = idempotency.ErrInProgress
		fallthrough
	case err != nil:
		a.abandon()
		return nil, nil, err
	}
	a.row.Found = &p
	return a, nil, nil
}

// Progress returns what the claim read.
func (a *attempt) Progress() *idempotency.Progress { return a.row.Found }

// Begin makes sure of a transaction in which nothing is written.
func (a *attempt) Begin(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	ctx, cancel := a.store.bounded(ctx)
	defer cancel()
	if a.over || a.detached {
		return errOver
	}
	if a.phase == nil {
		return a.open(ctx)
	}
	return a.unwritten(ctx)
}

// unwritten checks that the handler has written nothing in the open transaction. It asks only where it has been used.
func (a *attempt) unwritten(ctx context.Context) error {
	if !a.guard.used.Load() {
		return nil
	}
	if a.guard.busy() {
		return idempotency.ErrStepMisuse.Because(errBusy)
	}
	var written bool
	var began time.Time
	err := a.conn.row(ctx, into(&written, &began), writtenSQL)
	switch {
	case code(err) == failedTransaction: // reading failed, and the handler goes on: what follows needs a transaction that works
		if a.guard.ended.Load() {
			return errEnded
		}
		a.finish(ErrTxCommitted)
		if err := a.clear(ctx); err != nil {
			return err
		}
		return a.open(ctx)
	case err != nil:
		return refusedBy(err)
	case !began.Equal(a.began):
		return errEnded
	case written:
		return idempotency.ErrStepMisuse.Because(errors.New("sqlstore: the handler wrote, or locked rows, outside of a step before a step, and a resumed run would do so again: " +
			"move that into a step, or behind the last one"))
	}
	return nil
}

// clear rolls back a transaction in which the handler has written nothing. That its connection was lost is no matter then.
func (a *attempt) clear(ctx context.Context) error {
	err := a.rollBack(ctx)
	if errors.Is(err, idempotency.ErrTransactionEnded) || errors.Is(err, idempotency.ErrTransactionConflict) {
		return err
	}
	return nil
}

// Save commits the step together with its recovery point.
func (a *attempt) Save(ctx context.Context, progress idempotency.Progress, lease time.Duration) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		return errOver
	}
	if a.detached {
		a.detached = false
		return a.put(ctx, progress, lease)
	}
	if a.phase == nil {
		return errOver
	}
	return a.commitProgress(ctx, progress, lease)
}

// Detach commits where the attempt stands, and holds nothing but its lease from then on.
func (a *attempt) Detach(ctx context.Context, progress idempotency.Progress, lease time.Duration) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over || a.detached {
		return errOver
	}
	bounded, cancel := a.store.bounded(ctx)
	defer cancel()
	var err error
	switch {
	case a.phase == nil && !a.row.Owned: // its transaction was undone before anything was kept
		err = a.open(bounded)
	case a.phase != nil:
		err = a.unwritten(bounded)
	}
	switch {
	case err != nil:
	case !a.row.Owned:
		err = a.commitProgress(ctx, progress, lease)
	default:
		if a.phase != nil {
			a.finish(ErrTxForeign)
			err = a.clear(bounded)
		}
		if err == nil {
			err = a.put(ctx, progress, lease)
		}
	}
	a.detached = err == nil
	return err
}

// Undo rolls the step back.
func (a *attempt) Undo(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		return errOver
	}
	if a.detached || a.phase == nil {
		a.detached = false
		return nil
	}
	ctx, cancel := a.store.bounded(ctx)
	defer cancel()
	a.finish(ErrTxCommitted)
	return a.rollBack(ctx)
}

// Renew extends the lease.
func (a *attempt) Renew(ctx context.Context, lease time.Duration) error {
	ctx, cancel := a.store.bounded(ctx)
	defer cancel()
	var changed int64
	err := a.store.transact(ctx, func(on *session) (err error) {
		changed, err = on.exec(ctx, a.store.sql.Renew, a.key.Scope, a.key.Value, a.row.Owner, lease.Microseconds())
		return err
	})
	if err != nil {
		return refusedBy(err)
	}
	if changed == 0 {
		return errTakenOver
	}
	return nil
}

// Yield ends the attempt and its lease.
func (a *attempt) Yield(ctx context.Context, progress idempotency.Progress) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.end() {
		return errOver
	}
	defer a.takeBack()
	bounded, cancel := a.store.bounded(ctx)
	defer cancel()
	rolledBack := a.rollBack(bounded)
	err := a.write(ctx, a.store.sql.Yield, progress, 0, a.lock)
	if errors.Is(rolledBack, idempotency.ErrTransactionConflict) || errors.Is(rolledBack, idempotency.ErrTransactionEnded) {
		return rolledBack
	}
	return err
}
