package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"sync/atomic"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/keytable"
)

// The statements of loans are sent without a transaction around them: a driver, or database/sql, that runs one twice because its reply was lost
// does no harm (see package keytable).

var _ idempotency.Leaser = (*Store)(nil)

// Acquire lends key, in one round trip; in two where terms.Matches has to be asked, or a record has to be confirmed by a synchronous standby. It
// takes no advisory lock: an attempt that works on the key by [Store.Claim] and has no row yet is not seen, and of the two the primary key lets
// one in; the attempt that comes second is rolled back.
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
		found, maybe, err := onLoan(ctx, s, func(on *session) (*keytable.Loan, error) {
			found := &keytable.Loan{}
			err := on.row(ctx, scanLoan(found), s.sql.Acquire, key.Scope, key.Value, terms.Owner[:], terms.Fingerprint[:], accepted[:],
				terms.Lease.Microseconds(), terms.Remember.Microseconds(), keytable.AcquireWait)
			return found, err
		})
		sent = sent || maybe
		waited := code(err) == lockTimeout || isConflict(err) // with another one's statement
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

// lockTimeout is the SQLSTATE of a wait that lock_timeout has ended.
const lockTimeout = "55P03"

// scanLoan reads what the statement of Acquire says.
func scanLoan(l *keytable.Loan) func(*sql.Row) error {
	return func(from *sql.Row) error {
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
		if certain(err) && !isConflict(err) && code(err) != lockTimeout && !worthAnotherTry(err) {
			return false, unsettled(sent, err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return false, unsettled(sent, err)
		}
	}
}

// unsettled is the error of a Settle that is given up. sent says that one may have happened.
func unsettled(sent bool, err error) error {
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
	found, maybe, err := onLoanOnce(ctx, s, func(on *session) (*keytable.Loan, error) {
		r := record.Response
		changed, err := on.exec(ctx, s.sql.Settle, key.Scope, key.Value, owner[:], record.Fingerprint[:], r.Status, notNil(r.Header), notNil(r.Body), retention.Microseconds())
		if err != nil || changed > 0 {
			return nil, err
		}
		found := &keytable.Loan{}
		return found, on.row(ctx, scanSettled(found), s.sql.Settled, key.Scope, key.Value)
	})
	switch {
	case err == errLoanUnreplicated:
		return false, maybe, errUnreplicated
	case err != nil || found == nil:
		return false, maybe, err
	case !found.Stored(owner, record):
		return false, maybe, idempotency.ErrLeaseLost
	case found.Synchronous:
		err = s.confirm(ctx)
	}
	return true, maybe, err
}

// scanSettled reads what there is of the key, if anything.
func scanSettled(l *keytable.Loan) func(*sql.Row) error {
	return func(from *sql.Row) error {
		var left int64
		var standbys, level string
		err := from.Scan(&l.State, &l.Fingerprint, &l.Status, &l.Headers, &l.Body, &left, &standbys, &level, &l.Owner)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		l.Judge(left, 0, standbys, level)
		return err
	}
}

// Extend moves the end of the lease, in one round trip.
func (s *Store) Extend(ctx context.Context, key idempotency.Key, owner idempotency.OwnerToken, lease time.Duration) error {
	if owner == (idempotency.OwnerToken{}) {
		return idempotency.ErrLeaseLost
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	changed, _, err := onLoan(ctx, s, func(on *session) (int64, error) {
		return on.exec(ctx, s.sql.Extend, key.Scope, key.Value, owner[:], lease.Microseconds())
	})
	switch {
	case err != nil:
		return refusedBy(err)
	case changed == 0:
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
	changed, sent, err := onLoan(ctx, s, func(on *session) (*int, error) {
		changed := new(int)
		return changed, on.row(ctx, into(changed), s.sql.Free, key.Scope, key.Value, owner[:])
	})
	switch {
	case err != nil:
		return refusedBy(err)
	case *changed == 0 && !sent: // the one whose reply was lost has freed it
		return idempotency.ErrLeaseLost
	}
	return nil
}

// conflictTries is how often a statement is sent again that another one's commit has made fail (40001).
const conflictTries = 3

// onLoan does what can be done twice, again where a fresh connection may cure what failed, or where another one's commit has made it fail. maybe
// reports that one which failed may have happened, or may happen yet. What do writes to is its own: it may go on after an error.
func onLoan[T any](ctx context.Context, s *Store, do func(on *session) (T, error)) (said T, maybe bool, err error) {
	for tries := 0; ; tries++ {
		said, once, err := onLoanOnce(ctx, s, do)
		maybe = maybe || once
		if err == nil || !(isConflict(err) && tries < conflictTries) && !s.again(ctx, err, tries) {
			return said, maybe, err
		}
	}
}

func onLoanOnce[T any](ctx context.Context, s *Store, do func(on *session) (T, error)) (said T, maybe bool, err error) {
	on, err := s.acquire(ctx)
	if err != nil {
		return said, false, err
	}
	var unreplicated atomic.Bool
	stop := s.listen(on, func(routine, _ string) {
		if routine == syncWaitRoutine {
			unreplicated.Store(true)
		}
	})
	said, err = do(on)
	stop()
	if err != nil && !certain(err) {
		on.drop()
		return said, true, err
	}
	on.giveBack()
	switch {
	case code(err) == keytable.ReadOnlyState:
		return said, false, errReadOnly
	case err == nil && unreplicated.Load():
		return said, true, errLoanUnreplicated
	}
	return said, false, err
}

var (
	errReadOnly = idempotency.ErrStoreUnavailable.Because(errors.New(
		"sqlstore: the server takes no writes: it is a standby, or its transactions are read-only: connect to the primary (target_session_attrs=read-write)"))

	// errLoanUnreplicated is that of a loan which a failover may undo: nothing must be done on the strength of it.
	errLoanUnreplicated = idempotency.ErrStoreUnavailable.Because(errors.New("sqlstore: the key was lent, freed or extended, but the wait for the synchronous standby was cancelled"))
)
