package pgstore

import (
	"strings"

	"github.com/jackc/pgx/v5"
)

// The statements. {table} is replaced by the table's name, qualified and quoted where a schema is configured, and {literal} by
// the same as a string.
const (
	// lockSQL is a statement of its own, sent before the read: in READ COMMITTED each statement sees what was committed before
	// it began, so that a read after the lock sees the record of whoever held it before. In one statement the read's
	// snapshot would be older than the lock. now() is the transaction's start: it is the transaction's identity (see
	// completeSQL), as the oid is the table's. pg_is_in_recovery() is asked here because a standby may answer a read from
	// the past.
	lockSQL = `SELECT pg_try_advisory_xact_lock($1), now(), {literal}::regclass::oid, pg_is_in_recovery()`

	// readSQL takes statement_timestamp(): the time of this statement by the database's clock, not of the transaction.
	readSQL = `SELECT state, fingerprint, status, headers, body, coalesce(expires_at <= statement_timestamp(), false)
FROM {table} WHERE scope = $1 AND key = $2`

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
	CASE WHEN now() = $7::timestamptz THEN now() END,
	statement_timestamp(), statement_timestamp() + $8::bigint * interval '1 microsecond')`

	// refuseSQL does nothing on a conflict: nothing of the handler's is in this transaction, and the record that is
	// there is the answer.
	refuseSQL = `INSERT INTO {table} (scope, key, state, fingerprint, status, headers, body, created_at, completed_at, expires_at)
VALUES ($1, $2, 'completed', $3, $4, $5, $6, now(), statement_timestamp(), statement_timestamp() + $7::bigint * interval '1 microsecond')
ON CONFLICT (scope, key) DO NOTHING`

	// sameSQL fails, by a division by zero, if this is not the transaction that took the lock, and thereby stops the
	// pipeline before anything is decided on a transaction that is not ours.
	sameSQL = `SELECT 1 / (now() = $1::timestamptz)::int`

	// reapSQL takes no row that somebody else is working on, and locks those it takes, so that they are still what they were
	// when they are deleted. It finds them by the index on expires_at, oldest first.
	reapSQL = `DELETE FROM {table} WHERE ctid = ANY (ARRAY(
	SELECT ctid FROM {table} WHERE state = 'completed' AND expires_at <= statement_timestamp()
	ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED))`

	// checkSQL names every column that the store uses.
	checkSQL = `SELECT pg_is_in_recovery(), current_setting('synchronous_standby_names') <> '',
	has_table_privilege($1::text, 'INSERT') AND has_table_privilege($1::text, 'UPDATE') AND has_table_privilege($1::text, 'DELETE') FROM (SELECT
	scope, key, state, fingerprint, recovery_point, steps, request, owner, attempt, leased_until, status, headers, body,
	created_at, completed_at, expires_at FROM {table} LIMIT 0) columns RIGHT JOIN (VALUES (1)) one ON true`

	commitSQL   = `COMMIT`
	rollbackSQL = `ROLLBACK`
)

// statements are the SQL texts for one table.
type statements struct {
	lock, read, deleteExpired, complete, refuse, reap, check string
	// table is the quoted name; namespace sets its locks apart from those of other tables.
	table, namespace string
}

const table = "idempotency_keys"

func newStatements(schema string) statements {
	name := pgx.Identifier{table}
	if schema != "" {
		name = pgx.Identifier{schema, table}
	}
	// A string in SQL, whatever standard_conforming_strings says.
	literal := `E'` + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(name.Sanitize()) + `'`
	in := strings.NewReplacer("{table}", name.Sanitize(), "{literal}", literal)
	return statements{
		lock:          in.Replace(lockSQL),
		read:          in.Replace(readSQL),
		deleteExpired: in.Replace(deleteExpiredSQL),
		complete:      in.Replace(completeSQL),
		refuse:        in.Replace(refuseSQL),
		reap:          in.Replace(reapSQL),
		check:         in.Replace(checkSQL),
		table:         name.Sanitize(),
		namespace:     schema,
	}
}
