// Package mutants is the trial of the checker: bugs that systems like this one have had, planted one at a time into the servers that
// the torture runs. Each must be convicted by what the histories show. A mutant that is acquitted is a hole in the checker, or
// says that another layer makes good what was broken; then the bug is planted in all layers.
package mutants

import (
	"github.com/onlyonce/onlyonce/integration/overlay"
)

// Mutant is a bug, and the conditions under which it must show.
type Mutant struct {
	Name string
	// Bug says what was broken.
	Bug string
	// Under is the run that must convict it.
	Under Conditions
	edits []overlay.Edit
}

const (
	sql    = "internal/keytable/sql.go"
	wire   = "pgstore/wire_statements.go"
	ending = "pgstore/ending.go"
)

// All are the mutants.
var All = []Mutant{
	{
		Name:  "no-lock",
		Bug:   "the key's lock is never taken",
		Under: duplicates,
		edits: []overlay.Edit{{File: sql, Old: "`SELECT pg_try_advisory_xact_lock($1), CURRENT", New: "`SELECT $1::bigint IS NOT NULL, CURRENT"}},
	},
	{
		Name:  "one-statement",
		Bug:   "lock and read are one statement, whose snapshot is older than the lock, and a second record is no error",
		Under: duplicates,
		edits: []overlay.Edit{
			{File: wire, Old: `		statement{sql: sql.Lock, args: w.args(w.int8(a.lock))},
		statement{sql: sql.Read, args: w.args(w.text(a.key.Scope), w.text(a.key.Value))},
`, New: `		statement{sql: "SELECT pg_try_advisory_xact_lock($1), now(), '" + sql.table + "'::regclass::oid, pg_is_in_recovery(), " +
			"k.state, k.fingerprint, k.status, k.headers, k.body, k.expires_at, statement_timestamp(), " +
			"current_setting('synchronous_standby_names'), current_setting('synchronous_commit') " +
			"FROM (VALUES (1)) one LEFT JOIN " + sql.table + " k ON k.scope = $2 AND k.key = $3",
			args: w.args(w.int8(a.lock), w.text(a.key.Scope), w.text(a.key.Value))},
`},
			{File: wire, Old: `	if at == 2 {
		return c.found.read(values)
	}
`, New: `	if values[4] != nil {
		if err := c.found.read(values[4:]); err != nil {
			return err
		}
	}
`},
			{File: wire, Old: "	from := columns{values: values}\n	c.locked,", New: "	from := columns{values: values[:4]}\n	c.locked,"},
			{File: sql, Old: "statement_timestamp(), statement_timestamp() + $8::interval)`",
				New: "statement_timestamp(), statement_timestamp() + $8::interval) ON CONFLICT (scope, key) DO NOTHING`"},
		},
	},
	{
		Name:  "reply-before-commit",
		Bug:   "the client is answered while the commit is on its way",
		Under: crashes,
		edits: []overlay.Edit{{File: ending, Old: `	s := a.send(ctx, last)
	switch {
	case s.certain:
		return a.failed(ctx, s.err, s.at, last)
`, New: `	go func() {
		_ = a.send(context.Background(), last)
		a.letGo()
	}()
	if true {
		return idempotency.Settled{Record: last.record}, nil
	}
	var s sent
	switch {
	case s.certain:
		return a.failed(ctx, s.err, s.at, last)
`}},
	},
	{
		Name:  "callers-context",
		Bug:   "handler and commit end with the client's context",
		Under: vanishing,
		edits: []overlay.Edit{{File: "idempotency/engine.go", Old: "	detached := context.WithoutCancel(ctx)\n	run := newRun", New: "	detached := ctx\n	run := newRun"}},
	},
	{
		Name:  "commit-error-believed",
		Bug:   "a COMMIT whose reply is lost is taken for one that did not happen",
		Under: lostReplies,
		edits: []overlay.Edit{{File: ending, Old: `	case s.err != nil:
		return a.readBack(ctx, last.record, s.err)
	}
	unreplicated := commitUnreplicated(a.conn)
	a.letGo()
	switch {
	case s.tag.String() != keytable.CommitSQL:
		return idempotency.Settled{}, errFailedStatement
`, New: `	case s.err != nil:
		_ = a.conn.Conn().Close(canceled)
		a.letGo()
		return idempotency.Settled{}, idempotency.ErrStoreUnavailable.Because(s.err)
	}
	unreplicated := commitUnreplicated(a.conn)
	a.letGo()
	switch {
	case s.tag.String() != keytable.CommitSQL:
		return idempotency.Settled{}, errFailedStatement
`}},
	},
	{
		Name:  "two-transactions",
		Bug:   "the response is stored by a transaction of its own, after that of the handler's writes",
		Under: lostReplies,
		edits: []overlay.Edit{
			{File: wire, Old: "	statements := w.batch[:0]\n", New: `	_, _ = a.conn.Exec(context.Background(), keytable.CommitSQL)
	_, _ = a.conn.Exec(context.Background(), "BEGIN")
	statements := w.batch[:0]
`},
			{File: sql, Old: "CASE WHEN CURRENT_TIMESTAMP = $7::timestamptz THEN $7::timestamptz END,\n	statement_timestamp()", New: "$7::timestamptz,\n	statement_timestamp()"},
		},
	},
	{
		Name:  "no-owner-token",
		Bug:   "all attempts at a key with recovery points have the same owner token",
		Under: zombies,
		edits: []overlay.Edit{{File: "internal/keytable/pending.go", Old: "	_, _ = rand.Read(r.Next) // it never fails\n", New: "	_ = rand.Read\n"}},
	},
	{
		Name:  "rows-affected-ignored",
		Bug:   "nobody looks at how many rows an INSERT or UPDATE has changed",
		Under: refusals,
		edits: []overlay.Edit{
			{File: ending, Old: "case !a.keyless && s.inserted == 0:", New: "case false:"},
			{File: "pgstore/saving.go", Old: "case tag.RowsAffected() == 0:", New: "case tag.RowsAffected() < 0:"},
			{File: sql, Old: "{literal}::regclass::oid = $13::oid\nRETURNING 1) SELECT 1 / count(*)", New: "{literal}::regclass::oid = $13::oid\nRETURNING 1) SELECT count(*)"},
			{File: sql, Old: "{literal}::regclass::oid = $9::oid\nRETURNING 1) SELECT 1 / count(*)", New: "{literal}::regclass::oid = $9::oid\nRETURNING 1) SELECT count(*)"},
			{File: sql, Old: "AND owner = $7\nRETURNING 1) SELECT 1 / count(*)", New: "AND owner = $7\nRETURNING 1) SELECT count(*)"},
		},
	},
	{
		Name:  "application-clock",
		Bug:   "the application's clock says what has expired",
		Under: clocks,
		edits: []overlay.Edit{
			{File: "internal/keytable/row.go", Old: "	r.Expired = expires <= now\n", New: "	now = time.Now().Sub(Epoch).Microseconds()\n	r.Expired = expires <= now\n"},
			{File: sql, Old: "WHERE scope = $1 AND key = $2 AND state = 'completed' AND expires_at <= statement_timestamp()`",
				New: "WHERE scope = $1 AND key = $2 AND state = 'completed' AND expires_at <= $3::timestamptz`"},
			{File: wire, Old: "statement{sql: sql.DeleteExpired, args: w.args(scope, key)}", New: "statement{sql: sql.DeleteExpired, args: w.args(scope, key, w.time(time.Now()))}"},
		},
	},
	{
		Name:  "reaper-takes-pending",
		Bug:   "the reaper deletes keys that were left at a recovery point",
		Under: abandoned,
		edits: []overlay.Edit{
			{File: sql, Old: "WHERE (` + OverSQL + `) IS TRUE", New: "WHERE coalesce(expires_at, leased_until) <= statement_timestamp()"},
			{File: sql, Old: "WHERE expires_at >= $2 AND ` + OverSQL + `\n	ORDER BY",
				New: "WHERE coalesce(expires_at, leased_until) BETWEEN $2 AND statement_timestamp()\n	ORDER BY"},
		},
	},
}
