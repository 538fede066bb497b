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

var _ idempotency.Leaser = (*Store)(nil)

// Acquire lends key, in one round trip; in two where terms.Matches has to be asked, or a record has to be confirmed by a synchronous standby. It
// takes no advisory lock, whatever Config.Lock is: an attempt that works on the key by [Store.Claim] and has no row yet is not seen, and of the
// two the primary key lets one in; the attempt that comes second is rolled back.
//
// An error that is none of those named in [idempotency.Leaser] leaves open whether the key was lent. Nobody else has it then before the lease is
// over, unless its owner calls Free.
func (s *Store) Acquire(ctx context.Context, key idempotency.Key, terms idempotency.Terms) (*idempotency.Lease, *idempotency.Record, error) {
	if err := terms.Check(); err != nil {
		return nil, nil, err
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	accepted, sent := terms.Fingerprint, false
	for tries := 1; ; tries++ {
		var found keytable.Loan
		maybe, err := s.onLoan(ctx, func(conn *pgxpool.Conn) error {
			return scanLoan(&found, conn.QueryRow(ctx, s.sql.Acquire, key.Scope, key.Value, terms.Owner[:], terms.Fingerprint[:], accepted[:],
				terms.Lease.Microseconds(), terms.Remember.Microseconds(), keytable.AcquireWait))
		})
		sent = sent || maybe
		waited := blocked(err) || isConflict(err) // with another one's statement
		switch {
		case waited && sent && ctx.Err() == nil: // perhaps the one whose reply was lost: it tells who has the key once it has ended
			continue
		case waited && !sent:
			return nil, nil, idempotency.ErrInProgress
		case err != nil:
			return nil, nil, refusedBy(err)
		case found.Attempt > 0:
			return &idempotency.Lease{Attempt: found.Attempt}, nil, nil
		case found.Completed():
			record, err := s.settledRecord(ctx, &row{found.Row})
			if err == nil && !terms.Admits(record.Fingerprint) {
				record, err = nil, idempotency.ErrKeyReused
			}
			return nil, record, err
		}
		if again, err := found.Refused(&terms, &accepted); !again || tries >= keytable.AcquireTries {
			return nil, nil, err
		}
	}
}

// scanLoan reads what acquireSQL says.
func scanLoan(l *keytable.Loan, from pgx.Row) error {
	var attempt *int
	var state, standbys, level *string
	var left *int64
	var lent, live, counted *bool
	err := from.Scan(&attempt, &state, &l.Fingerprint, &l.Status, &l.Headers, &l.Body, &left, &standbys, &level, &l.Owner, &lent, &live, &counted)
	switch {
	case err != nil:
		return err
	case attempt != nil:
		l.Attempt = *attempt
	case state != nil:
		l.State, l.Lent, l.Live, l.Counted = *state, *lent, *live, *counted
		l.Judge(*left, 0, *standbys, *level)
	}
	return nil
}

// Settle ends the loan, in one round trip; in two where it finds the key settled. As long as it is not known whether it is stored, it is sent
// again, on another connection, for Config.ReadBackTimeout, whatever becomes of ctx: what the record is about has happened.
func (s *Store) Settle(
	ctx context.Context, key idempotency.Key, owner idempotency.OwnerToken, record *idempotency.Record, retention time.Duration,
) (again bool, err error) {
	if owner == (idempotency.OwnerToken{}) {
		return false, idempotency.ErrLeaseLost
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.config.ReadBackTimeout)
	defer cancel()
	sent := false
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 250*time.Millisecond) {
		again, maybe, err := s.settleOnce(ctx, key, owner, record, retention)
		if own := (*idempotency.Error)(nil); err == nil || errors.As(err, &own) && !(sent && err == errReadOnly) { // a standby does not know of it yet
			return again && !sent, err // what an earlier one has stored was not there before
		}
		sent = sent || maybe
		if certain(err) && !isConflict(err) && !blocked(err) && !worthAnotherTry(err) {
			return false, s.unsettled(sent, err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return false, s.unsettled(sent, err)
		}
	}
}

// unsettled is the error of a Settle that is given up. sent says that one may have happened.
func (s *Store) unsettled(sent bool, err error) error {
	if sent {
		return idempotency.ErrOutcomeUnknown.Because(err)
	}
	return refusedBy(err)
}

func (s *Store) settleOnce(
	ctx context.Context, key idempotency.Key, owner idempotency.OwnerToken, record *idempotency.Record, retention time.Duration,
) (again, maybe bool, err error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	found, changed := row{}, int64(0)
	var last []byte
	maybe, err = s.onLoanOnce(ctx, func(conn *pgxpool.Conn) error {
		r := record.Response
		tag, err := conn.Exec(ctx, s.sql.Settle, key.Scope, key.Value, owner[:], record.Fingerprint[:], r.Status, notNil(r.Header), notNil(r.Body), retention.Microseconds())
		if changed = tag.RowsAffected(); err != nil || changed > 0 {
			return err
		}
		last, err = found.scanSettled(conn.QueryRow(ctx, s.sql.Settled, key.Scope, key.Value))
		return err
	})
	switch {
	case err == errLoanUnreplicated:
		return false, maybe, errUnreplicated
	case err != nil || changed > 0:
		return false, maybe, err
	}
	loan := keytable.Loan{Row: found.Row, Owner: last}
	if !loan.Stored(owner, record) {
		return false, maybe, idempotency.ErrLeaseLost
	}
	if found.Synchronous {
		err = s.confirm(ctx)
	}
	return true, maybe, err
}

// scanSettled reads what settledSQL has found, if anything.
func (r *row) scanSettled(from pgx.Row) (owner []byte, err error) {
	var left int64
	var standbys, level string
	err = from.Scan(&r.State, &r.Fingerprint, &r.Status, &r.Headers, &r.Body, &left, &standbys, &level, &owner)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	r.Judge(left, 0, standbys, level)
	return owner, err
}

// Extend moves the end of the lease, in one round trip.
func (s *Store) Extend(ctx context.Context, key idempotency.Key, owner idempotency.OwnerToken, lease time.Duration) error {
	if owner == (idempotency.OwnerToken{}) {
		return idempotency.ErrLeaseLost
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	var tag pgconn.CommandTag
	_, err := s.onLoan(ctx, func(conn *pgxpool.Conn) (err error) {
		tag, err = conn.Exec(ctx, s.sql.Extend, key.Scope, key.Value, owner[:], lease.Microseconds())
		return err
	})
	switch {
	case err != nil:
		return refusedBy(err)
	case tag.RowsAffected() == 0:
		return idempotency.ErrLeaseLost
	}
	return nil
}

// Free ends the loan as if it had not been, in one round trip.
func (s *Store) Free(ctx context.Context, key idempotency.Key, owner idempotency.OwnerToken) error {
	if owner == (idempotency.OwnerToken{}) {
		return idempotency.ErrLeaseLost
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	var changed int
	sent, err := s.onLoan(ctx, func(conn *pgxpool.Conn) error {
		return conn.QueryRow(ctx, s.sql.Free, key.Scope, key.Value, owner[:]).Scan(&changed)
	})
	switch {
	case err != nil:
		return refusedBy(err)
	case changed == 0 && !sent: // the one whose reply was lost has freed it
		return idempotency.ErrLeaseLost
	}
	return nil
}

// onLoan does what can be done twice, again where a fresh connection may cure what failed, or where another one's commit has made it fail. maybe
// reports that one which failed may have happened, or may happen yet.
func (s *Store) onLoan(ctx context.Context, do func(conn *pgxpool.Conn) error) (maybe bool, err error) {
	for tries := 0; ; tries++ {
		once, err := s.onLoanOnce(ctx, do)
		maybe = maybe || once
		if err == nil || !(isConflict(err) && tries < claimTries) && !s.again(ctx, err, tries) {
			return maybe, err
		}
	}
}

func (s *Store) onLoanOnce(ctx context.Context, do func(conn *pgxpool.Conn) error) (maybe bool, err error) {
	conn, err := s.acquire(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Release()
	watchCommit(conn)
	err = do(conn)
	forgetPrepared(conn, err)
	sqlstate, _ := code(err)
	switch {
	case sqlstate == keytable.ReadOnlyState:
		return false, errReadOnly
	case err == nil && commitUnreplicated(conn):
		return true, errLoanUnreplicated
	}
	return err != nil && !certain(err), err
}

var (
	errReadOnly = idempotency.ErrStoreUnavailable.Because(errors.New(
		"pgstore: the server takes no writes: it is a standby, or its transactions are read-only: connect to the primary (target_session_attrs=read-write)"))

	// errLoanUnreplicated is that of a loan which a failover may undo: nothing must be done on the strength of it.
	errLoanUnreplicated = idempotency.ErrStoreUnavailable.Because(errors.New("pgstore: the key was lent, freed or extended, but the wait for the synchronous standby was cancelled"))
)
