// Package sqlstore keeps idempotency keys in PostgreSQL (14 or later) for applications on database/sql, whatever their driver: it is
// run with pgx's (github.com/jackc/pgx/v5/stdlib) and with lib/pq. The handler's writes, by [Tx], and the stored response are one commit.
//
// The table, its rows and its locks are those of package pgstore: a process on pgx's pool and one on database/sql share keys.
//
// A request without recovery points is one transaction, on one connection of the pool:
//
//	claim      BEGIN
//	           SELECT pg_try_advisory_xact_lock
//	           SELECT … FROM idempotency_keys
//	…          the handler's own statements, by [Tx]
//	last       INSERT INTO idempotency_keys …
//	           COMMIT
//
// database/sql cannot pipeline, so each line is a round trip: three more than the handler's transaction would take by itself, where
// pgstore takes none more. Whatever else pgstore promises holds here too.
//
// database/sql sends a statement again, by itself, when the driver says that its connection was bad; of pgx's driver, a statement
// without arguments has been seen to run twice. It does so on a pool, and not on a connection that is set aside; so everything that
// this package sends goes over a connection set aside, and everything that writes is in a transaction that is begun and committed there
// by statements of its own; or, where a key is lent (see [Store.Acquire]), is a statement that does no harm when it runs twice. No [database/sql.Tx] is used for it: that one is rolled back, by a goroutine of its own, when a
// context ends, and its Commit takes none.
package sqlstore
