package pgstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

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
		a.unclaim(bounded, err)
		return err
	}
	last := &ending{batch: &pgx.Batch{}}
	sql := &a.store.sql
	if a.row.Kept() {
		last.insertAt = last.queue(sql.Save, a.key.Scope, a.key.Value, p.RecoveryPoint, p.Steps, p.Request, a.row.Propose(),
			p.Attempt, p.Completions, p.LastError, lease.Microseconds(), a.row.Owner, a.began, a.table, p.Fingerprint[:])
	} else if a.claim != nil {
		a.queueSaveClaim(last, p, lease)
	} else {
		a.queueDeleteExpired(last.batch)
		last.insertAt = last.queue(sql.BeginChain, a.key.Scope, a.key.Value, p.Fingerprint[:], p.RecoveryPoint, p.Steps, p.Request, a.row.Propose(),
			p.Attempt, p.Completions, p.LastError, a.began, a.table, lease.Microseconds())
	}
	last.commitAt = last.queue(keytable.CommitSQL)
	s := a.send(bounded, last)
	switch {
	case s.certain:
		return a.notSaved(bounded, s, last)
	case s.err != nil:
		unreplicated := commitUnreplicated(a.conn)
		_ = a.conn.Conn().Close(canceled)
		a.letGo()
		if unreplicated {
			return idempotency.ErrOutcomeUnknown.Because(s.err)
		}
		return a.wasSaved(ctx, p, s.err)
	}
	unreplicated := commitUnreplicated(a.conn)
	a.letGo()
	switch {
	case s.tag.String() != keytable.CommitSQL:
		return errFailedStatement
	case unreplicated:
		return errUnreplicated
	}
	a.row.Accepted()
	return nil
}

// notSaved says why the server did not commit a recovery point.
func (a *attempt) notSaved(ctx context.Context, s sent, last *ending) error {
	if a.status() != 'I' {
		_, _ = a.conn.Exec(ctx, keytable.RollbackSQL)
	}
	a.letGo()
	if why := a.lostBy(s.err, s.at, last); why != nil {
		a.unclaim(ctx, why)
		return why
	}
	switch sqlstate, column := code(s.err); {
	case isConflict(s.err):
		return idempotency.ErrTransactionConflict.Because(s.err)
	case sqlstate == "23505" && s.at == last.insertAt:
		return errTakenOver
	case sqlstate == "22012":
		return a.lostOrEnded(ctx)
	case sqlstate == "23502" && s.at == last.insertAt && column == "state":
		return errMoved
	case sqlstate == "23502" && s.at == last.insertAt:
		return errEnded
	}
	return refusedBy(s.err)
}

// lostOrEnded tells why a comparison with the row failed: of the owner token, or of what identifies the transaction.
func (a *attempt) lostOrEnded(ctx context.Context) error {
	conn, err := a.store.acquire(ctx)
	if err != nil {
		return refusedBy(err)
	}
	defer conn.Release()
	var state string
	var owner []byte
	err = conn.QueryRow(ctx, a.store.sql.Owner, a.key.Scope, a.key.Value).Scan(&state, &owner)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return errTakenOver
	case err != nil:
		return refusedBy(err)
	case state == keytable.PendingState && bytes.Equal(owner, a.row.Owner):
		return errEnded
	}
	return errTakenOver
}

// put stores progress in one statement of its own, in which nothing of the handler's takes part. It can be repeated, since
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

func (a *attempt) writeOnce(ctx context.Context, sql string, p idempotency.Progress, lease time.Duration, more []any) error {
	ctx, cancel := a.store.bounded(ctx)
	defer cancel()
	conn, err := a.store.acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	watchCommit(conn)
	values := append([]any{a.key.Scope, a.key.Value, p.RecoveryPoint, p.Steps, p.Request, a.row.Next,
		p.Attempt, p.Completions, p.LastError, lease.Microseconds(), a.row.Owner, p.Fingerprint[:]}, more...)
	tag, err := a.exec(ctx, conn, sql, values...)
	switch {
	case err != nil:
		return err
	case commitUnreplicated(conn):
		return errUnreplicated
	case tag.RowsAffected() == 0:
		return errTakenOver
	}
	return nil
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
		if refused := refusedCommit(cause); refused != nil {
			return refused
		}
		return idempotency.ErrStoreUnavailable.Because(fmt.Errorf("pgstore: the recovery point was not committed: %w", cause))
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
	if refused := refusedCommit(cause); refused != nil {
		return idempotency.Settled{ReadBack: true}, refused
	}
	return idempotency.Settled{ReadBack: true}, idempotency.ErrStoreUnavailable.Because(fmt.Errorf("pgstore: the commit did not happen: %w", cause))
}

// settledLook looks at the key once the lock is free: then the transaction whose commit was not answered has ended.
func (a *attempt) settledLook(ctx context.Context, cause error) (look, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.store.config.ReadBackTimeout)
	defer cancel()
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 250*time.Millisecond) {
		bounded, done := a.store.bounded(ctx)
		p := &phase{}
		now, err := a.try(bounded, p, pgx.ReadCommitted) // another snapshot could be older than the lock
		p.discard(bounded)
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
	a.unclaim(ctx, err)
	if err == nil || !a.row.Kept() || errors.Is(err, idempotency.ErrOutcomeUnknown) || errors.Is(err, idempotency.ErrLeaseLost) {
		return settled, err
	}
	ctx, cancel := a.store.bounded(context.WithoutCancel(ctx))
	defer cancel()
	if conn, acquired := a.store.acquire(ctx); acquired == nil {
		defer conn.Release()
		_, _ = a.exec(ctx, conn, a.store.sql.EndLease, a.key.Scope, a.key.Value, a.row.Owner, reason(err), errors.Is(err, idempotency.ErrTransactionEnded)) // if not, it ends by itself
	}
	return settled, err
}
