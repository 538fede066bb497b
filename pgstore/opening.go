package pgstore

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/keytable"
)

// open begins the next transaction: it takes the lock, and makes sure that the key is still this attempt's. A lock that is held
// may be a duplicate's that looks whether it may take over, so it is tried again.
func (a *attempt) open(ctx context.Context) error {
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		p := &phase{}
		now, err := a.try(ctx, p, a.store.config.Isolation)
		if err == nil {
			err = a.stillOwned(now)
		}
		if err == nil && now.locked {
			a.phase = p
			a.traced.Store(p.conn.Conn())
			return nil
		}
		p.discard(ctx)
		switch {
		case err != nil:
			return err
		case !now.leased: // whoever has the lock runs the handler, and the row will be theirs
			return idempotency.ErrLeaseLost.Because(errors.New("pgstore: another attempt has claimed the key"))
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return idempotency.ErrStoreUnavailable.Because(errors.New("pgstore: another attempt held the key's lock for too long"))
		}
	}
}

// look is what lookSQL reads, and whether the lock was free.
type look struct {
	locked bool
	row
	owner, steps []byte
	leased       bool
}

// try begins a transaction, tries the lock and looks at the key. p holds what it got.
func (a *attempt) try(ctx context.Context, p *phase, level pgx.TxIsoLevel) (look, error) {
	return retried(ctx, a.store, func() (look, error) {
		now, err := a.tryOnce(ctx, p, level)
		if err != nil {
			if p.conn != nil {
				forgetPrepared(p.conn, err)
			}
			p.discard(ctx)
		}
		return now, err
	})
}

func (a *attempt) tryOnce(ctx context.Context, p *phase, level pgx.TxIsoLevel) (now look, err error) {
	if p.conn, err = a.store.acquire(ctx); err != nil {
		return look{}, err
	}
	if a.store.config.Lock != LocalLock {
		return a.tryBy(ctx, p, level)
	}
	batch := &pgx.Batch{}
	batch.BeginTx(pgx.TxOptions{IsoLevel: level})
	batch.Queue(a.store.sql.Lock, a.lock)
	batch.Queue(a.store.sql.Look, a.key.Scope, a.key.Value)
	results := p.conn.SendBatch(ctx, batch)
	var standby bool
	_, err = results.Exec()
	if err == nil {
		err = results.QueryRow().Scan(&now.locked, &p.began, &p.table, &standby)
	}
	if err == nil {
		err = results.QueryRow().Scan(&now.State, &now.Fingerprint, &now.Status, &now.Headers, &now.Body, &now.Expired, &now.owner, &now.steps, &now.leased)
		now.Present = !errors.Is(err, pgx.ErrNoRows)
		if !now.Present {
			err = nil
		}
	}
	if closeErr := results.Close(); err == nil {
		err = closeErr
	}
	if err == nil && standby {
		err = errStandby
	}
	p.hold(results.Tx())
	return now, err
}

// discard rolls back a transaction that no handler has seen, and gives its connection back.
func (p *phase) discard(ctx context.Context) {
	if p.conn == nil {
		return
	}
	if conn := p.conn.Conn(); !conn.IsClosed() && conn.PgConn().TxStatus() != 'I' {
		_, _ = conn.Exec(ctx, keytable.RollbackSQL)
	}
	p.conn.Release()
	p.conn = nil
}

// stillOwned compares the key's row with what this attempt left or found.
func (a *attempt) stillOwned(now look) error {
	if a.row.Kept() {
		if now.Present && now.State == keytable.PendingState && bytes.Equal(now.owner, a.row.Owner) {
			return nil
		}
		return errTakenOver
	}
	if now.Present && !now.Expired {
		return errTakenOver
	}
	if now.Expired && a.expired == nil {
		a.expired = &idempotency.Record{}
	}
	return nil
}

var errTakenOver = idempotency.ErrLeaseLost.Because(errors.New("pgstore: another attempt has taken the key over"))
