package sqlstore

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/keytable"
)

// commitProgress commits the open transaction with progress, and closes it in any case.
func (a *attempt) commitProgress(ctx context.Context, p idempotency.Progress, lease time.Duration) error {
	bounded, cancel := a.store.bounded(ctx)
	defer cancel()
	a.finish(ErrTxCommitted)
	if err := a.unusable(bounded); err != nil {
		err = a.orConflict(err)
		a.letGo()
		return err
	}
	last := ending{attempt: a}
	statements := &a.store.sql
	if a.row.Kept() {
		last.decide(statements.Save, a.key.Scope, a.key.Value, p.RecoveryPoint, orNull(p.Steps), orNull(p.Request), a.row.Propose(),
			p.Attempt, p.Completions, p.LastError, lease.Microseconds(), a.row.Owner, a.began, a.table, p.Fingerprint[:])
	} else {
		last.deleteExpired()
		last.decide(statements.BeginChain, a.key.Scope, a.key.Value, p.Fingerprint[:], p.RecoveryPoint, orNull(p.Steps), orNull(p.Request), a.row.Propose(),
			p.Attempt, p.Completions, p.LastError, a.began, a.table, lease.Microseconds())
	}
	if at, _, err := last.send(bounded); err != nil {
		return a.notSaved(bounded, err, at == last.decidesAt)
	}
	switch err := a.store.commit(bounded, a.conn); {
	case err == errUnreplicated:
		a.bad = true
		a.letGo()
		return err
	case err != nil:
		a.bad = true
		a.letGo()
		return a.wasSaved(ctx, p, err)
	}
	a.letGo()
	a.row.Accepted()
	return nil
}

// notSaved says why a recovery point was not committed.
func (a *attempt) notSaved(ctx context.Context, err error, decided bool) error {
	guard := a.guard
	a.endFailed(ctx)
	switch sqlstate := code(err); {
	case isConflict(err):
		return idempotency.ErrTransactionConflict.Because(err)
	case sqlstate == uniqueViolation && decided:
		return errTakenOver
	case sqlstate == divisionByZero:
		return a.lostOrEnded(ctx)
	case sqlstate == failedTransaction:
		return conflictOr(guard, failedOrEnded(guard))
	case err == errFailedStatement:
		return conflictOr(guard, err)
	case sqlstate == notNullViolation && decided && column(err) == "state":
		return errMoved
	case sqlstate == notNullViolation && decided:
		return errEnded
	}
	return refusedBy(err)
}

// lostOrEnded tells why a comparison with the row failed: of the owner token, or of what identifies the transaction.
func (a *attempt) lostOrEnded(ctx context.Context) error {
	conn, err := a.store.acquire(ctx)
	if err != nil {
		return refusedBy(err)
	}
	defer conn.giveBack()
	var state string
	var owner []byte
	err = conn.row(ctx, into(&state, &owner), a.store.sql.Owner, a.key.Scope, a.key.Value)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return errTakenOver
	case err != nil:
		return refusedBy(err)
	case state == keytable.PendingState && bytes.Equal(owner, a.row.Owner):
		return errEnded
	}
	return errTakenOver
}

// put stores progress in a transaction of its own, in which nothing of the handler's takes part. It can be repeated, since
// token is this attempt's is true before and after. So a reply that is lost is asked for again, until ReadBackTimeout; a
// foreign effect shall not go unrecorded for a connection that broke.
func (a *attempt) put(ctx context.Context, p idempotency.Progress, lease time.Duration) error {
	return a.write(ctx, a.store.sql.Put, p, lease)
}

func (a *attempt) write(ctx context.Context, sql string, p idempotency.Progress, lease time.Duration, more ...any) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.store.config.ReadBackTimeout)
	defer cancel()
	a.row.Propose()
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 250*time.Millisecond) {
		err := a.writeOnce(ctx, sql, p, lease, more)
		if err == nil {
			a.row.Accepted()
			return nil
		}
		if own := (*idempotency.Error)(nil); errors.As(err, &own) || certain(err) && !isConflict(err) {
			return refusedBy(err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return idempotency.ErrOutcomeUnknown.Because(err)
		}
	}
}

func (a *attempt) writeOnce(ctx context.Context, statement string, p idempotency.Progress, lease time.Duration, more []any) error {
	ctx, cancel := a.store.bounded(ctx)
	defer cancel()
	values := append([]any{a.key.Scope, a.key.Value, p.RecoveryPoint, orNull(p.Steps), orNull(p.Request), a.row.Next,
		p.Attempt, p.Completions, p.LastError, lease.Microseconds(), a.row.Owner, p.Fingerprint[:]}, more...)
	return a.store.transact(ctx, func(on *session) error {
		changed, err := on.exec(ctx, statement, values...)
		if err == nil && changed == 0 {
			err = errTakenOver
		}
		return err
	})
}

// wasSaved finds out whether a recovery point is there whose commit was not answered: under the lock, once the old transaction has
// ended.
func (a *attempt) wasSaved(ctx context.Context, p idempotency.Progress, cause error) error {
	now, err := a.settledLook(ctx, cause)
	switch {
	case err != nil:
		return err
	case now.State == keytable.PendingState && bytes.Equal(now.owner, a.row.Next) && bytes.Equal(now.steps, p.Steps):
		// What follows may be a foreign call, and a retry after a failover must know of it.
		if err := a.store.confirm(context.WithoutCancel(ctx)); err != nil {
			return err
		}
		a.row.Accepted()
		return nil
	case a.stillOwned(now) == nil:
		return notCommitted(cause, "sqlstore: the recovery point was not committed")
	}
	return errTakenOver
}

// readBackChain is readBack for a key that has a pending row.
func (a *attempt) readBackChain(ctx context.Context, record *idempotency.Record, cause error) (idempotency.Settled, error) {
	now, err := a.settledLook(ctx, cause)
	if err != nil {
		return idempotency.Settled{}, err
	}
	if now.Present && now.State == keytable.CompletedState {
		found, err := now.Record()
		if err == nil {
			err = a.store.confirm(context.WithoutCancel(ctx))
		}
		if err != nil {
			return idempotency.Settled{ReadBack: true}, err
		}
		if keytable.Same(found, record) {
			found = record
		}
		return idempotency.Settled{Record: found, ReadBack: true}, nil
	}
	if a.stillOwned(now) != nil {
		return idempotency.Settled{ReadBack: true}, errTakenOver
	}
	return idempotency.Settled{ReadBack: true}, notCommitted(cause, "sqlstore: the commit did not happen")
}

// settledLook looks at the key once the lock is free: then the transaction whose commit was not answered has ended.
func (a *attempt) settledLook(ctx context.Context, cause error) (look, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.store.config.ReadBackTimeout)
	defer cancel()
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 250*time.Millisecond) {
		bounded, done := a.store.bounded(ctx)
		p, now, err := a.try(bounded, sql.LevelReadCommitted) // another snapshot could be older than the lock
		if err == nil {
			a.store.abandon(p.conn)
		}
		done()
		if err == nil && now.locked {
			return now, nil
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return look{}, idempotency.ErrOutcomeUnknown.Because(errors.Join(cause, err))
		}
	}
}

// noTransaction is how Complete and Refuse end that could not begin the transaction they need.
func (a *attempt) noTransaction(ctx context.Context, err error) (idempotency.Settled, error) {
	if errors.Is(err, idempotency.ErrLeaseLost) {
		return a.whoWon(ctx, err)
	}
	return a.settled(ctx, idempotency.Settled{}, err)
}

// settled ends the lease of an attempt that is known to have failed: the next one need not wait for it.
func (a *attempt) settled(ctx context.Context, settled idempotency.Settled, err error) (idempotency.Settled, error) {
	if err == nil || !a.row.Kept() || errors.Is(err, idempotency.ErrOutcomeUnknown) || errors.Is(err, idempotency.ErrLeaseLost) {
		return settled, err
	}
	ctx, cancel := a.store.bounded(context.WithoutCancel(ctx))
	defer cancel()
	_ = a.store.transact(ctx, func(on *session) error { // if not, it ends by itself
		_, err := on.exec(ctx, a.store.sql.EndLease, a.key.Scope, a.key.Value, a.row.Owner, reason(err), errors.Is(err, idempotency.ErrTransactionEnded))
		return err
	})
	return settled, err
}
