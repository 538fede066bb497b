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

// open begins the next transaction: it takes the lock, and makes sure that the key is still this attempt's. A lock that is held
// may be a duplicate's that looks whether it may take over, so it is tried again.
func (a *attempt) open(ctx context.Context) error {
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		p, now, err := a.try(ctx, a.store.config.Isolation)
		if err != nil {
			return err
		}
		err = a.stillOwned(now)
		if err == nil && now.locked {
			a.phase = p
			return nil
		}
		a.store.abandon(p.conn)
		switch {
		case err != nil:
			return err
		case !now.leased: // whoever has the lock runs the handler, and the row will be theirs
			return idempotency.ErrLeaseLost.Because(errors.New("sqlstore: another attempt has claimed the key"))
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return idempotency.ErrStoreUnavailable.Because(errors.New("sqlstore: another attempt held the key's lock for too long"))
		}
	}
}

// look is what the row tells of how an attempt at a chain stands, and whether the lock was free.
type look struct {
	locked bool
	keytable.Row
	owner, steps []byte
	leased       bool
}

// try begins a transaction, tries the lock and looks at the key.
func (a *attempt) try(ctx context.Context, level sql.IsolationLevel) (*phase, look, error) {
	var now look
	p, err := retried(ctx, a.store, func() (*phase, error) {
		p := &phase{}
		var err error
		if p.conn, err = a.store.acquire(ctx); err != nil {
			return nil, err
		}
		found := look{}
		found.locked, err = a.store.lock(ctx, p, a.lock, level)
		if err == nil {
			err = p.conn.row(ctx, found.scan, a.store.sql.Look, a.key.Scope, a.key.Value)
		}
		if err != nil {
			a.store.abandon(p.conn)
			return nil, err
		}
		now = found
		return p, nil
	})
	return p, now, err
}

func (l *look) scan(from *sql.Row) error {
	err := from.Scan(&l.State, &l.Fingerprint, &l.Status, &l.Headers, &l.Body, &l.Expired, &l.owner, &l.steps, &l.leased)
	l.Present = err == nil
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	return err
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

var errTakenOver = idempotency.ErrLeaseLost.Because(errors.New("sqlstore: another attempt has taken the key over"))
