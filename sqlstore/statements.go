package sqlstore

import (
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/onlyonce/onlyonce/internal/keytable"
)

// beginSQL begins a transaction of a level.
var beginSQL = map[sql.IsolationLevel]string{
	sql.LevelReadCommitted:  `BEGIN ISOLATION LEVEL READ COMMITTED`,
	sql.LevelRepeatableRead: `BEGIN ISOLATION LEVEL REPEATABLE READ`,
	sql.LevelSerializable:   `BEGIN ISOLATION LEVEL SERIALIZABLE`,
}

const (
	// markSQL marks a transaction that takes no lock, in the round trip of its BEGIN: the setting ends with the transaction. markedSQL
	// fails, by a division by zero, if that one is over.
	markSQL   = `; SET LOCAL onlyonce.mark = '`
	markedSQL = `SELECT 1 / (current_setting('onlyonce.mark', true) IS NOT DISTINCT FROM $1::text)::int`

	// writtenSQL says whose word it is, too: in a transaction that the handler has begun by itself it is about that one.
	writtenSQL = keytable.WrittenSQL + `, CURRENT_TIMESTAMP`

	// latestSQL is the latest expiry that was reaped, in microseconds since 2000: for an infinite one database/sql has no value.
	latestSQL = `count(*), CASE WHEN isfinite(max(expires_at)) THEN (extract(epoch FROM max(expires_at) - timestamptz '2000-01-01 00:00:00+00') * 1000000)::bigint END FROM reaped`
)

// statements are the SQL texts for one table: those of pgstore, but for what a driver could not read.
type statements struct {
	keytable.Statements
	table string // the quoted name
}

func newStatements(schema string) statements {
	name := keytable.NameIn(schema)
	s := statements{Statements: keytable.Of(name), table: name.Quoted}
	s.Read = strings.Replace(s.Read, "expires_at, statement_timestamp(),", keytable.LeftSQL+",", 1)
	s.Reap = strings.Replace(s.Reap, "expires_at >= $2", "expires_at >= $2::timestamptz", 1)
	if at := strings.LastIndex(s.Reap, "count(*), max(expires_at) FROM reaped"); at >= 0 {
		s.Reap = s.Reap[:at] + latestSQL
	}
	return s
}

// The arguments of statements. Drivers differ in what they take for a value, so these are of the plainest kinds.

// interval is an argument of that type. PostgreSQL 14 does not take any number of microseconds for one, or of seconds.
func interval(d time.Duration) string {
	seconds := d / time.Second
	return fmt.Sprintf("%d:%02d:%02d.%06d", seconds/3600, seconds/60%60, seconds%60, (d%time.Second)/time.Microsecond)
}

// orNull makes a nil slice NULL.
func orNull(b []byte) any {
	if b == nil {
		return nil
	}
	return b
}

// notNil makes a nil slice an empty one: the columns tell no body from an empty body, and NULL from both.
func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
