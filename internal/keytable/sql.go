package keytable

// The statements. {table} is replaced by the table's name, qualified and quoted where a schema is configured, and {literal} by
// the same as a string.
const (
	// lockSQL is a statement of its own, sent before the read: in READ COMMITTED each statement sees what was committed before
	// it began, so that a read after the lock sees the record of whoever held it before. In one statement the read's
	// snapshot would be older than the lock. CURRENT_TIMESTAMP, cheaper than now(), is the transaction's start: it is the transaction's identity (see
	// completeSQL), as the oid is the table's. pg_is_in_recovery() is asked here because a standby may answer a read from
	// the past.
	lockSQL = `SELECT pg_try_advisory_xact_lock($1), CURRENT_TIMESTAMP, {literal}::regclass::oid, pg_is_in_recovery()`

	// waitingSQL is whether this session's commits wait for a standby. Then what another one has committed need not be confirmed yet.
	waitingSQL = `current_setting('synchronous_standby_names') <> '' AND current_setting('synchronous_commit') NOT IN ('off', 'local')`

	// readSQL takes statement_timestamp(): the time of this statement by the database's clock, not of the transaction. What follows from
	// the times and settings is computed where a row was found (see Row.Judge): a fresh key would pay for expressions, too.
	readSQL = `SELECT state, fingerprint, status, headers, body, expires_at, statement_timestamp(),
	current_setting('synchronous_standby_names'), current_setting('synchronous_commit')
FROM {table} WHERE scope = $1 AND key = $2`

	// ConfirmSQL writes something small into the log, so that its commit waits for the standby like any other.
	ConfirmSQL = `SELECT CASE WHEN ` + waitingSQL + ` THEN pg_logical_emit_message(true, 'onlyonce', '') END`

	// deleteExpiredSQL makes room for the record that follows it in the batch. It names the expiry again, so that
	// whatever stands there now is deleted only if it is over.
	deleteExpiredSQL = `DELETE FROM {table}
WHERE scope = $1 AND key = $2 AND state = 'completed' AND expires_at <= statement_timestamp()`

	// completeSQL is a plain INSERT, so that a second record is an error, after which the server skips the COMMIT that
	// follows in the pipeline. ON CONFLICT DO NOTHING would insert nothing and commit the handler's writes. created_at is
	// NULL, which is an error as well, if this is not the transaction that took the lock: then the handler ended that
	// one by a COMMIT of its own and began another. state is NULL if the table's name means another table than when the
	// key was read: then the handler changed the search_path.
	completeSQL = `INSERT INTO {table} (scope, key, state, fingerprint, status, headers, body, created_at, completed_at, expires_at)
VALUES ($1, $2, CASE WHEN {literal}::regclass::oid = $9::oid THEN 'completed' END, $3, $4, $5, $6,
	CASE WHEN CURRENT_TIMESTAMP = $7::timestamptz THEN $7::timestamptz END,
	statement_timestamp(), statement_timestamp() + $8::interval)`

	// refuseSQL does nothing on a conflict: nothing of the handler's is in this transaction, and the record that is
	// there is the answer.
	refuseSQL = `INSERT INTO {table} (scope, key, state, fingerprint, status, headers, body, created_at, completed_at, expires_at)
VALUES ($1, $2, 'completed', $3, $4, $5, $6, now(), statement_timestamp(), statement_timestamp() + $7::bigint * interval '1 microsecond')
ON CONFLICT (scope, key) DO NOTHING`

	// SameSQL fails, by a division by zero, if this is not the transaction that took the lock, and thereby stops the
	// pipeline before anything is decided on a transaction that is not ours.
	SameSQL = `SELECT 1 / (now() = $1::timestamptz)::int`

	// ChainSQL reads the rest of a row that is pending; readSQL leaves it out, so that nobody else pays for it.
	// A key that is lent is nobody's to resume, and as good as leased (see LentSQL).
	ChainSQL = `SELECT fingerprint, coalesce(recovery_point, ''), steps, request, owner, coalesce(attempt, -1), coalesce(completions, 0), coalesce(last_error, ''),
	coalesce(leased_until > statement_timestamp(), false) OR ` + LentSQL + `
FROM {table} WHERE scope = $1 AND key = $2 AND state = 'pending'`

	// lookSQL reads what tells how an attempt at a chain ended whose connection was lost.
	lookSQL = `SELECT state, fingerprint, status, headers, body, coalesce(expires_at <= statement_timestamp(), false), owner, steps,
	coalesce(leased_until > statement_timestamp(), false)
FROM {table} WHERE scope = $1 AND key = $2`

	// beginChainSQL is the first recovery point of a key, an INSERT like completeSQL and for the same reasons.
	beginChainSQL = `INSERT INTO {table} (scope, key, state, fingerprint, recovery_point, steps, request, owner, attempt, completions, last_error,
	created_at, leased_until)
VALUES ($1, $2, CASE WHEN {literal}::regclass::oid = $12::oid THEN 'pending' END, $3, $4, $5, $6, $7, $8, nullif($9::integer, 0), nullif($10, ''),
	CASE WHEN now() = $11::timestamptz THEN now() END, statement_timestamp() + $13::bigint * interval '1 microsecond')`

	// SaveSQL moves the recovery point on. It compares the owner token, so that of two attempts one gets on; and, by a
	// division by zero, it fails where it would change nothing, so that the COMMIT behind it is skipped. $12 is the
	// transaction that took the lock, and $13 the table. None of the columns is indexed: the update is a HOT one.
	SaveSQL = `WITH saved AS (UPDATE {table} SET fingerprint = $14, recovery_point = $3, steps = $4, request = coalesce($5, request), owner = $6,
	attempt = $7, completions = nullif($8::integer, 0), last_error = nullif($9, ''), leased_until = statement_timestamp() + $10::bigint * interval '1 microsecond'
WHERE scope = $1 AND key = $2 AND state = 'pending' AND owner = $11 AND now() = $12::timestamptz AND {literal}::regclass::oid = $13::oid
RETURNING 1) SELECT 1 / count(*) FROM saved`

	// PutSQL is SaveSQL outside of a handler's transaction, where the number of rows tells. It can be sent again when its reply was
	// lost: the row carries the new token ($6) then, or still the old one.
	PutSQL = `UPDATE {table} SET fingerprint = $12, recovery_point = $3, steps = $4, request = coalesce($5, request), owner = $6,
	attempt = $7, completions = nullif($8::integer, 0), last_error = nullif($9, ''), leased_until = clock_timestamp() + $10::bigint * interval '1 microsecond'
WHERE scope = $1 AND key = $2 AND state = 'pending' AND owner IN ($11, $6)`

	// yieldSQL is PutSQL for an attempt that gives up. Where its lease is over it leaves the row alone as long as somebody holds the
	// key's lock ($13): that is who has taken over, whose own token is not in the row before their first commit, and who would lose
	// the key to a token that changes under them.
	yieldSQL = PutSQL + `
AND (leased_until > clock_timestamp() OR pg_try_advisory_xact_lock($13))`

	// RenewSQL gives a lease of another length, or of none, to its owner alone.
	RenewSQL = `UPDATE {table} SET leased_until = clock_timestamp() + $4::bigint * interval '1 microsecond'
WHERE scope = $1 AND key = $2 AND state = 'pending' AND owner = $3`

	// EndLeaseSQL ends the lease of an attempt whose last transaction failed, and keeps why. $5 holds the key for an operator.
	EndLeaseSQL = `UPDATE {table} SET leased_until = clock_timestamp(), last_error = $4, completions = CASE WHEN $5::boolean THEN 2147483647 ELSE completions END
WHERE scope = $1 AND key = $2 AND state = 'pending' AND owner = $3`

	// CompleteChainSQL ends a chain behind the handler's last writes, under the conditions of SaveSQL. What only a resumption
	// needs is forgotten: a request may hold what must not be kept for longer.
	CompleteChainSQL = `WITH saved AS (UPDATE {table} SET state = 'completed', fingerprint = $10, status = $3, headers = $4, body = $5,
	completed_at = statement_timestamp(), expires_at = statement_timestamp() + $6::bigint * interval '1 microsecond',
	steps = NULL, request = NULL, owner = NULL, leased_until = NULL, last_error = NULL
WHERE scope = $1 AND key = $2 AND state = 'pending' AND owner = $7 AND now() = $8::timestamptz AND {literal}::regclass::oid = $9::oid
RETURNING 1) SELECT 1 / count(*) FROM saved`

	// refuseChainSQL is CompleteChainSQL in a transaction of its own, in which nothing is the handler's.
	refuseChainSQL = `WITH saved AS (UPDATE {table} SET state = 'completed', fingerprint = $8, status = $3, headers = $4, body = $5,
	completed_at = statement_timestamp(), expires_at = statement_timestamp() + $6::bigint * interval '1 microsecond',
	steps = NULL, request = NULL, owner = NULL, leased_until = NULL, last_error = NULL
WHERE scope = $1 AND key = $2 AND state = 'pending' AND owner = $7
RETURNING 1) SELECT 1 / count(*) FROM saved`

	// ownerSQL tells whose a key is, after a comparison with its row has failed.
	ownerSQL = `SELECT state, owner FROM {table} WHERE scope = $1 AND key = $2`

	// wholeSQL is true of a pending row that a claim can read (see claimPending). One that is damaged is claimed in vain each time,
	// and must not take the place of another in the completer's batch.
	wholeSQL = `(octet_length(fingerprint) = 33 AND octet_length(owner) = 16 AND attempt BETWEEN 0 AND 2147483646 AND coalesce(completions, 0) >= 0)`

	// pendingSQL lists what the completer may resume, and nothing that is lent. The index is on created_at: what waits longest comes first. Nothing that may stand
	// in a row makes it fail: a time or a power out of range would, for all of them. So the lease is compared, and nothing added to it.
	pendingSQL = `SELECT scope, key, fingerprint, coalesce(recovery_point, ''), steps, request, attempt, coalesce(completions, 0), coalesce(last_error, '')
FROM {table} WHERE state = 'pending' AND {whole} AND NOT ` + LentSQL + ` AND coalesce(completions, 0) < $1
AND coalesce(leased_until, '-infinity') <= statement_timestamp() - CASE WHEN coalesce(completions, 0) <= 0 THEN 0
	ELSE least($3::float8, $2::float8 * 2 ^ least(completions - 1, 60)) END * interval '1 second'
ORDER BY created_at LIMIT $4`

	// stuckSQL counts what the completer has given up, and what is damaged.
	stuckSQL = `SELECT count(*) FROM {table} WHERE state = 'pending' AND NOT ` + LentSQL + ` AND (coalesce(completions, 0) >= $1 OR {whole} IS NOT TRUE)
AND coalesce(leased_until, '-infinity') <= statement_timestamp()`

	// countPendingSQL counts no further than $2. idempotency_keys_resume begins with the scope, and has pending keys alone: a scope's
	// completed keys are not looked at, nor other scopes' keys. The order is the index's: no other plan has it for nothing. Keys that are lent do not
	// count, and are looked at.
	countPendingSQL = `SELECT count(*) FROM (SELECT FROM {table} WHERE state = 'pending' AND scope = $1 AND NOT ` + LentSQL + ` ORDER BY created_at LIMIT $2) counted`

	// WrittenSQL tells whether the transaction has written anything: only then it has a number.
	WrittenSQL = `SELECT pg_current_xact_id_if_assigned() IS NOT NULL`

	// reapLockSQL keeps the reaper to one process, and its commit from waiting for the disk or a standby: a record whose deletion a
	// crash undoes has expired all the same, and whatever replaces it makes the deletion durable with itself. $2 says that reapSQL
	// follows: where there are no statistics, the planner would have it read and sort all that is over for each batch.
	reapLockSQL = `SELECT pg_try_advisory_xact_lock($1), set_config('synchronous_commit', 'off', true),
	CASE WHEN $2::boolean THEN set_config('enable_sort', 'off', true) END`

	// OverSQL is true of what may be deleted: a record whose retention is over, and a loan that nobody has ended and need not be remembered.
	OverSQL = `expires_at <= statement_timestamp() AND (state = 'completed' OR state = 'pending' AND ` + LentSQL + ` AND leased_until <= statement_timestamp())`

	// reapSQL takes no row that somebody else is working on, and locks those it takes, so that they are still what they were
	// when they are deleted. It finds them by the index on expires_at, oldest first, and says up to which expiry it got. $2 is where it
	// begins: until vacuum has come by, the index still lists the rows that are deleted, and a scan from its beginning visits them all.
	// The rows' places are unique in one table, and not over the partitions of one: so the condition stands there again, as IS TRUE, which
	// no index is used for.
	reapSQL = `WITH reaped AS (DELETE FROM {table} WHERE (` + OverSQL + `) IS TRUE AND ctid = ANY (ARRAY(
	SELECT ctid FROM {table} WHERE expires_at >= $2 AND ` + OverSQL + `
	ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED)) RETURNING expires_at)
SELECT count(*), max(expires_at) FROM reaped`

	// checkSQL names every column that the store uses.
	checkSQL = `SELECT pg_is_in_recovery(), ` + waitingSQL + `,
	(SELECT bool_and(has_function_privilege(oid, 'EXECUTE')) FROM pg_proc WHERE proname = 'pg_logical_emit_message' AND pronamespace = 'pg_catalog'::regnamespace),
	has_table_privilege($1::text, 'INSERT') AND has_table_privilege($1::text, 'UPDATE') AND has_table_privilege($1::text, 'DELETE') FROM (SELECT
	scope, key, state, fingerprint, recovery_point, steps, request, owner, attempt, completions, last_error, leased_until, status, headers, body,
	created_at, completed_at, expires_at FROM {table} LIMIT 0) columns RIGHT JOIN (VALUES (1)) one ON true`

	// CommitSQL and RollbackSQL end a transaction.
	CommitSQL   = `COMMIT`
	RollbackSQL = `ROLLBACK`
)

// Statements are the SQL texts for one table.
type Statements struct {
	Lock, Read, DeleteExpired, Complete, Refuse, ReapLock, Reap, Check                                     string
	Chain, Look, BeginChain, Save, Put, Yield, Renew, EndLease, CompleteChain, RefuseChain, Pending, Stuck string
	CountPending, Owner, Undistributed                                                                     string
	Acquire, Settle, Settled, Extend, Free                                                                 string
	// Namespace sets the table's locks apart from those of other tables.
	Namespace string
}

// Of returns the statements for the table of this name.
func Of(name Name) Statements {
	return Statements{
		Lock:          name.In(lockSQL),
		Read:          name.In(readSQL),
		DeleteExpired: name.In(deleteExpiredSQL),
		Complete:      name.In(completeSQL),
		Refuse:        name.In(refuseSQL),
		ReapLock:      reapLockSQL,
		Reap:          name.In(reapSQL),
		Check:         name.In(checkSQL),
		Chain:         name.In(ChainSQL),
		Look:          name.In(lookSQL),
		BeginChain:    name.In(beginChainSQL),
		Save:          name.In(SaveSQL),
		Put:           name.In(PutSQL),
		Yield:         name.In(yieldSQL),
		Renew:         name.In(RenewSQL),
		EndLease:      name.In(EndLeaseSQL),
		CompleteChain: name.In(CompleteChainSQL),
		RefuseChain:   name.In(refuseChainSQL),
		Pending:       name.In(pendingSQL),
		Stuck:         name.In(stuckSQL),
		CountPending:  name.In(countPendingSQL),
		Owner:         name.In(ownerSQL),
		Undistributed: name.In(undistributedSQL),
		Acquire:       name.In(AcquireSQL),
		Settle:        name.In(SettleSQL),
		Settled:       name.In(settledSQL),
		Extend:        name.In(ExtendSQL),
		Free:          name.In(FreeSQL),
		Namespace:     name.Namespace,
	}
}
