package keytable

import (
	"errors"
	"fmt"

	"github.com/onlyonce/onlyonce/idempotency"
)

// A key that is lent is a pending row without a recovery point. It belongs to owner until leased_until, and whoever else comes then takes it
// over; the end that it has, expires_at, is that of its being remembered. What settles it keeps the owner, who may ask again.
//
// Each of the statements is a transaction of its own and may be sent twice, with the same arguments: an owner token is the key's once, and what
// has it in its condition finds done, or not its own any more, what it was to do. Times are clock_timestamp()'s, since a statement may have waited
// for another one's transaction.
const (
	// LentSQL is true of a pending row that is lent. One of a chain has a recovery point, be it empty, and no end; nor has the row of
	// a claim that a handler has committed by itself.
	LentSQL = `(recovery_point IS NULL AND owner IS NOT NULL AND expires_at IS NOT NULL)`

	// isLentSQL is that with the state. By state = 'pending' alone the planner might look for a key in the index of pending ones, among all that
	// its scope has.
	isLentSQL = `CASE WHEN state = 'pending' THEN ` + LentSQL + ` ELSE false END`

	// countedSQL is true of a lent row whose next owner can be counted, and that says when its lease is over.
	countedSQL = `(attempt BETWEEN 1 AND 2147483646 AND leased_until IS NOT NULL)`

	// noneSQL is the fingerprint that compares nothing.
	noneSQL = `decode(repeat('00', 33), 'hex')`

	// LeftSQL is how long a record is kept yet, in microseconds and up to a day: 0 if it has expired. Where a row has no end, or an infinite
	// one, a driver may have no value for the time itself.
	LeftSQL = `(extract(epoch FROM greatest(least(expires_at, statement_timestamp() + interval '1 day'), statement_timestamp()) - statement_timestamp()) * 1000000)::bigint`

	// AcquireSQL reads, and writes only where there is something to do: a replay, and a key that is in progress, lock no row and write nothing. $3 is
	// the owner, $4 the fingerprint, $5 another one that is as good, $6 the lease and $7 what it is remembered for, in microseconds. The primary
	// key decides between two that find nothing. An update whose row was changed while it waited looks at it again.
	//
	// $8 bounds the wait for another transaction, an attempt of InsertClaim's, say: set_config is heard of by the locks that are taken behind it.
	AcquireSQL = `WITH found AS MATERIALIZED (SELECT state, fingerprint, status, headers, body, ` + LeftSQL + ` AS remaining,
	current_setting('synchronous_standby_names') AS standbys, current_setting('synchronous_commit') AS level,
	owner, ` + LentSQL + ` AS lent, coalesce(leased_until > clock_timestamp(), false) AS live, ` + countedSQL + ` AS counted
FROM {table} WHERE scope = $1 AND key = $2),
inserted AS (INSERT INTO {table} (scope, key, state, fingerprint, owner, created_at, leased_until, expires_at)
	SELECT $1::text, $2::text, 'pending', $4::bytea, $3::bytea, clock_timestamp(), clock_timestamp() + $6::bigint * interval '1 microsecond',
		clock_timestamp() + ($6::bigint + $7::bigint) * interval '1 microsecond'
	WHERE NOT EXISTS (SELECT FROM found) AND set_config('lock_timeout', $8::text, true) IS NOT NULL
	ON CONFLICT (scope, key) DO NOTHING RETURNING attempt),
taken AS (UPDATE {table} SET state = 'pending', owner = $3::bytea,
	attempt = CASE WHEN state = 'completed' THEN 1 WHEN owner = $3::bytea THEN attempt ELSE attempt + 1 END,
	fingerprint = CASE WHEN state = 'pending' AND $4::bytea = ` + noneSQL + ` THEN fingerprint ELSE $4::bytea END,
	created_at = CASE WHEN state = 'completed' THEN clock_timestamp() ELSE created_at END,
	leased_until = clock_timestamp() + $6::bigint * interval '1 microsecond',
	expires_at = clock_timestamp() + ($6::bigint + $7::bigint) * interval '1 microsecond',
	completed_at = NULL, status = NULL, headers = NULL, body = NULL, recovery_point = NULL, steps = NULL, request = NULL, completions = NULL, last_error = NULL
	WHERE scope = $1 AND key = $2 AND set_config('lock_timeout', $8::text, true) IS NOT NULL AND (state = 'completed' AND expires_at <= statement_timestamp()
		OR state = 'pending' AND ` + LentSQL + ` AND ` + countedSQL + ` AND (owner = $3::bytea OR leased_until <= clock_timestamp())
			AND ($4::bytea = ` + noneSQL + ` OR fingerprint IN (` + noneSQL + `, $4::bytea, $5::bytea)) AND octet_length(fingerprint) = 33 AND octet_length(owner) = 16)
	RETURNING attempt)
SELECT granted.attempt, found.* FROM (VALUES (1)) one
LEFT JOIN (SELECT attempt FROM inserted UNION ALL SELECT attempt FROM taken) granted ON true LEFT JOIN found ON granted.attempt IS NULL`

	// SettleSQL turns the loan into the record, which keeps the loan's fingerprint where it has none.
	SettleSQL = `UPDATE {table} SET state = 'completed', fingerprint = CASE WHEN $4::bytea = ` + noneSQL + ` THEN fingerprint ELSE $4::bytea END, status = $5, headers = $6, body = $7, completed_at = clock_timestamp(),
	expires_at = clock_timestamp() + $8::bigint * interval '1 microsecond', leased_until = NULL
WHERE scope = $1 AND key = $2 AND owner = $3 AND ` + isLentSQL

	// settledSQL reads what there is where SettleSQL has changed nothing.
	settledSQL = `SELECT state, fingerprint, status, headers, body, ` + LeftSQL + `, current_setting('synchronous_standby_names'), current_setting('synchronous_commit'), owner
FROM {table} WHERE scope = $1 AND key = $2`

	// ExtendSQL moves the end of the lease, and by as much the time until which the loan is remembered.
	ExtendSQL = `UPDATE {table} SET leased_until = clock_timestamp() + $4::bigint * interval '1 microsecond',
	expires_at = clock_timestamp() + $4::bigint * interval '1 microsecond' + (expires_at - leased_until)
WHERE scope = $1 AND key = $2 AND owner = $3 AND ` + isLentSQL

	// FreeSQL deletes the row, or leaves it as the owner before has: its token is nobody's then.
	FreeSQL = `WITH forgotten AS (DELETE FROM {table} WHERE scope = $1 AND key = $2 AND owner = $3 AND attempt <= 1 AND ` + isLentSQL + ` RETURNING 1),
returned AS (UPDATE {table} SET attempt = attempt - 1, owner = decode(repeat('00', 16), 'hex'), leased_until = clock_timestamp(),
	expires_at = clock_timestamp() + (expires_at - leased_until)
	WHERE scope = $1 AND key = $2 AND owner = $3 AND attempt > 1 AND ` + isLentSQL + ` RETURNING 1)
SELECT (SELECT count(*) FROM forgotten) + (SELECT count(*) FROM returned)`
)

// AcquireTries is how often a key is asked for that changes in between, before the one who asks is told that it is in progress.
const AcquireTries = 4

// AcquireWait is how long AcquireSQL waits for another transaction, in milliseconds, as lock_timeout takes it.
const AcquireWait = "100"

// Loan is what AcquireSQL says of a key, or settledSQL.
type Loan struct {
	Attempt int // above 0: it is lent
	Row
	Owner               []byte
	Lent, Live, Counted bool
}

// Refused says why a key was not lent that is not completed, and whether to ask again: something came in between, or the fingerprint that is
// stored, which is in accepted then, is the same request's by another recipe.
func (l *Loan) Refused(terms *idempotency.Terms, accepted *idempotency.Fingerprint) (again bool, err error) {
	if !l.Present || l.State == CompletedState {
		return true, idempotency.ErrInProgress
	}
	if !l.Lent || l.Live && string(l.Owner) != string(terms.Owner[:]) {
		return false, idempotency.ErrInProgress
	}
	stored, err := idempotency.ParseFingerprint(l.Fingerprint)
	if err == nil && len(l.Owner) != OwnerBytes {
		err = fmt.Errorf("the row is lent, and its owner has %d bytes", len(l.Owner))
	}
	if err == nil && !l.Counted {
		err = errors.New("the row is lent, and has no number of an attempt, or no end of the lease")
	}
	switch {
	case err != nil:
		return false, idempotency.ErrRecordUnreadable.Because(err)
	case !terms.Admits(stored):
		return false, idempotency.ErrKeyReused
	}
	*accepted = stored
	return true, idempotency.ErrInProgress
}

// Completed reports whether the row is a record, or anything else than what a loan can be made of.
func (l *Loan) Completed() bool {
	return l.Present && l.State != PendingState && !(l.State == CompletedState && l.Expired)
}

// Stored reports whether owner has stored record, which stands.
func (l *Loan) Stored(owner idempotency.OwnerToken, record *idempotency.Record) bool {
	if !l.Completed() || string(l.Owner) != string(owner[:]) {
		return false
	}
	found, err := l.Record()
	if err != nil {
		return false
	}
	if record.Fingerprint == (idempotency.Fingerprint{}) {
		found.Fingerprint = record.Fingerprint // it was stored with the loan's
	}
	return Same(found, record)
}

// ReadOnlyState is the SQLSTATE of a write where nobody may: on a standby, or in a transaction that only reads.
const ReadOnlyState = "25006"
