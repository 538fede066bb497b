package pgstore

import (
	"fmt"
	"strings"
	"time"

	"github.com/onlyonce/onlyonce/internal/keytable"
)

// Lock is what keeps two attempts off one key while the first of them is at work. Whatever it lets through, the primary key decides:
// one attempt commits. So processes with different ones may work on one table, as they do during a deployment; only a handler may run
// then whose writes are rolled back.
type Lock string

const (
	// LocalLock is an advisory lock, at the server that the connection leads to. For one PostgreSQL server, and for a distributed
	// one with one entry node. The default.
	LocalLock Lock = "local"
	// ShardLock is an advisory lock taken on the node that has the key's shard, whichever node the connection leads to. For Citus
	// with several entry nodes. One statement more than LocalLock, in the same round trip.
	ShardLock Lock = "shard"
	// InsertClaim takes no advisory lock: a claim inserts the key's row, and the end of the attempt updates it, in one transaction, so
	// that the row is seen by nobody before the response is in it, and is gone with a transaction that fails. For
	// engines where advisory locks do nothing, or do not reach every node. A claim that meets another one waits for its
	// transaction, on a connection, up to Config.ClaimWait; a replay in another process than the first takes two round trips.
	InsertClaim Lock = "insert"
)

// defaultClaimWait is what Config.ClaimWait says.
const defaultClaimWait = 100 * time.Millisecond

// check returns the lock that is meant.
func (l Lock) check() (Lock, error) {
	switch l {
	case "":
		return LocalLock, nil
	case LocalLock, ShardLock, InsertClaim:
		return l, nil
	}
	return "", fmt.Errorf("pgstore: Config.Lock is %q: use pgstore.LocalLock, pgstore.ShardLock or pgstore.InsertClaim", string(l))
}

const (
	// identitySQL has no table in it, so that a distributed engine answers it where the transaction is: see lockSQL.
	identitySQL = `SELECT now(), {literal}::regclass::oid, pg_is_in_recovery()`

	// shardLockSQL is one query to one shard, which is sent there whole, the function with it. The read is a statement of its own
	// behind it, as with lockSQL.
	shardLockSQL = `SELECT pg_try_advisory_xact_lock($3) FROM (SELECT count(*) FROM {table} WHERE scope = $1 AND key = $2) shard`

	// shardYieldSQL fails, by a division by zero, where yieldSQL would leave the row alone. It is a query, since a
	// function such as this one is refused in an UPDATE of a distributed table.
	shardYieldSQL = `SELECT 1 / (coalesce(leased_until > statement_timestamp(), false) OR pg_try_advisory_xact_lock($3))::int FROM {table} WHERE scope = $1 AND key = $2`

	// boundSQL bounds how long the statements behind it wait for another attempt's transaction, and unboundSQL gives the handler what
	// was set before. lock_timeout counts waiting alone; but a distributed engine's other nodes do not hear of it, and there it
	// is statement_timeout that ends the wait.
	boundSQL = `SELECT set_config('onlyonce.bounds', current_setting('lock_timeout') || ' ' || current_setting('statement_timeout'), true),
	set_config('lock_timeout', $1, true), set_config('statement_timeout', $2, true), pg_is_in_recovery()`
	unboundSQL = `SELECT set_config('lock_timeout', split_part(current_setting('onlyonce.bounds'), ' ', 1), true),
	set_config('statement_timeout', split_part(current_setting('onlyonce.bounds'), ' ', 2), true), now(), {literal}::regclass::oid`

	// insertClaimSQL waits for whoever has inserted the key and has not ended, and does nothing where the row is there to stay. The empty
	// fingerprint tells a claim's row from a pending key's. It is seen only if a handler commits by itself.
	insertClaimSQL = `INSERT INTO {table} (scope, key, state, fingerprint, owner, created_at) VALUES ($1, $2, 'pending', '', $3, now())
ON CONFLICT (scope, key) DO NOTHING`

	// leftClaimSQL takes over a claim's row that a handler has committed by itself. A pending key's row has a recovery point or a request.
	leftClaimSQL = `SELECT owner FROM {table} WHERE scope = $1 AND key = $2 AND state = 'pending' AND octet_length(fingerprint) = 0
AND recovery_point IS NULL AND steps IS NULL AND request IS NULL FOR UPDATE NOWAIT`

	// unclaimSQL deletes such a row, once that has been found out.
	unclaimSQL = `DELETE FROM {table} WHERE scope = $1 AND key = $2 AND state = 'pending' AND octet_length(fingerprint) = 0 AND owner = $3`

	// leasedSQL is asked before a pending row is locked, so that a request which only finds the lease alive, or the key lent, is in nobody's way.
	leasedSQL = `SELECT coalesce(leased_until > statement_timestamp(), false) OR ` + keytable.LentSQL + ` FROM {table} WHERE scope = $1 AND key = $2 AND state = 'pending'`

	// rowLockSQL is what an advisory lock is otherwise for a row that is pending.
	rowLockSQL = `SELECT 1 FROM {table} WHERE scope = $1 AND key = $2 FOR UPDATE SKIP LOCKED`

	// changedSQL and claimChangedSQL end the statements that change a row. They fail if none was changed, and the latter differently
	// where this is not the transaction that claimed the key: a claim's row is not there then, or is committed.
	changedSQL      = `SELECT 1 / count(*) FROM saved`
	claimChangedSQL = `SELECT 1 / CASE WHEN now() = {began}::timestamptz THEN count(*) ELSE sqrt(-1 - count(*)) END FROM saved`
	endedState      = "2201F" // of a negative number's root

	// writtenElsewhereSQL is written where the claim itself has written, or where what is written is written on another
	// node: a statement that writes, or locks rows, holds a lock on its table here. The claim's are on the keys' table, its
	// partitions, what holds their long values, and the indexes of all those.
	writtenElsewhereSQL = `WITH RECURSIVE parts AS (SELECT $1::oid AS relid UNION SELECT inhrelid FROM pg_inherits JOIN parts ON inhparent = relid),
	keys AS (SELECT relid FROM parts UNION SELECT reltoastrelid FROM pg_class WHERE oid IN (SELECT relid FROM parts))
SELECT EXISTS (SELECT FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation' AND mode <> 'AccessShareLock'
	AND relation NOT IN (SELECT relid FROM keys UNION SELECT indexrelid FROM pg_index WHERE indrelid IN (SELECT relid FROM keys)))`

	// countOthersPendingSQL is countPendingSQL without the claim's own row.
	countOthersPendingSQL = `SELECT count(*) FROM (SELECT FROM {table} WHERE state = 'pending' AND scope = $1 AND key <> $3 AND NOT ` + keytable.LentSQL + ` LIMIT $2) counted`
)

// heldSQL reports whether a scope has keys that count: all but those that are over. One without an end, or in a state that is not
// known, counts.
const heldSQL = `SELECT EXISTS (SELECT FROM {table} WHERE scope = $1 AND (state = 'completed' AND expires_at <= statement_timestamp()) IS NOT TRUE)`

// statements are those for one table: what every store says, and what differs with the lock.
type statements struct {
	keytable.Statements
	table                                                     string // the quoted name
	written, reapDistributed, held                            string
	identity, shardLock, shardYield                           string
	unbound, insertClaim, leftClaim, unclaim, rowLock, leased string
	completeClaim, saveClaim                                  string
}

// newStatements adapts the statements to a lock. With LocalLock they stay what they are.
func newStatements(schema string, lock Lock) statements {
	name := keytable.NameIn(schema)
	s := statements{
		Statements: keytable.Of(name), table: name.Quoted,
		written: keytable.WrittenSQL, held: name.In(heldSQL),
	}
	if lock == LocalLock {
		return s
	}
	s.written, s.reapDistributed = writtenElsewhereSQL, name.In(reapDistributedSQL)
	s.identity, s.shardLock, s.shardYield = name.In(identitySQL), name.In(shardLockSQL), name.In(shardYieldSQL)
	// A function whose value changes within a statement is refused in an UPDATE of a distributed table.
	steady := func(sql string) string {
		return name.In(strings.ReplaceAll(sql, "clock_timestamp()", "statement_timestamp()"))
	}
	s.Put, s.Renew, s.EndLease = steady(keytable.PutSQL), steady(keytable.RenewSQL), steady(keytable.EndLeaseSQL)
	s.Acquire, s.Settle = steady(keytable.AcquireSQL), steady(keytable.SettleSQL)
	s.Extend, s.Free = steady(keytable.ExtendSQL), steady(keytable.FreeSQL)
	if lock == ShardLock {
		return s
	}
	s.unbound, s.insertClaim, s.rowLock = name.In(unboundSQL), name.In(insertClaimSQL), name.In(rowLockSQL)
	s.leftClaim, s.unclaim, s.leased = name.In(leftClaimSQL), name.In(unclaimSQL), name.In(leasedSQL)
	s.Chain = name.In(keytable.ChainSQL + " FOR UPDATE NOWAIT")
	s.CountPending = name.In(countOthersPendingSQL)
	claim := func(sql, began string) string {
		return name.In(strings.Replace(sql, changedSQL, strings.Replace(claimChangedSQL, "{began}", began, 1), 1))
	}
	s.completeClaim, s.saveClaim = claim(keytable.CompleteChainSQL, "$8"), claim(keytable.SaveSQL, "$12")
	return s
}

// blocked reports whether err says that another attempt's transaction was waited for in vain.
func blocked(err error) bool {
	sqlstate, _ := code(err)
	return sqlstate == "55P03" || sqlstate == "57014"
}
