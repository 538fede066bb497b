// Package pgstore keeps idempotency keys in PostgreSQL (14 or later), by pgx. The handler's writes and the stored response are
// one commit: that is the promise of this library, and this package is where it is kept.
//
// A request without recovery points is one transaction:
//
//	round trip 1   BEGIN · SELECT pg_try_advisory_xact_lock · SELECT … FROM idempotency_keys
//	round trip 2…  the handler's own statements, by [Tx]
//	last           INSERT INTO idempotency_keys … · COMMIT
//
// which is as many round trips as the handler's statements would take without it.
//
// Three things make it safe. The advisory lock serializes attempts and vanishes with its owner's connection. The primary key
// decides: whatever the lock let through, a second record fails, and with it everything its attempt wrote. And a commit whose
// reply is lost is never guessed at, but read back under the lock.
//
// On other engines than one PostgreSQL server the lock can be another one: see [Lock]. Several servers, each with some of the scopes, are one
// store by [Router].
//
// All locks and settings are those of a transaction, so that it works behind PgBouncer in transaction mode (with
// default_query_exec_mode=exec, or simple_protocol, where PgBouncer is older than 1.21).
package pgstore
