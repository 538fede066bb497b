package wireproxy_test

import (
	"io"
	"runtime"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/wireproxy"
)

func TestRoundTripsAreCountedExactly(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		mode pgx.QueryExecMode
		do   func(l *line, conn *pgx.Conn) error
		want int
	}{
		{"a simple query is one", pgx.QueryExecModeSimpleProtocol, exec("SELECT 1"), 1},
		{"an extended query in one pipeline is one", pgx.QueryExecModeExec, exec("SELECT $1::int", 1), 1},
		{"a query that is described first is two", pgx.QueryExecModeDescribeExec, exec("SELECT $1::int", 1), 2},
		{"a query that is prepared first is two", pgx.QueryExecModeCacheStatement, exec("SELECT $1::int", 1), 2},
		{"a query that fails is one", pgx.QueryExecModeExec, fails(exec("SELECT 1/$1::int", 0)), 1},
		{"ten statements in a batch are one", pgx.QueryExecModeExec, func(l *line, conn *pgx.Conn) error {
			batch := &pgx.Batch{}
			for range 10 {
				batch.Queue("INSERT INTO effects VALUES ($1)", "batch")
			}
			return conn.SendBatch(l.ctx, batch).Close()
		}, 1},
		{"a transaction of one statement is three", pgx.QueryExecModeExec, func(l *line, conn *pgx.Conn) error {
			return pgx.BeginFunc(l.ctx, conn, func(tx pgx.Tx) error {
				_, err := tx.Exec(l.ctx, "INSERT INTO effects VALUES ($1)", "tx")
				return err
			})
		}, 3},
		{"two Syncs that are sent together are one", pgx.QueryExecModeExec, func(l *line, conn *pgx.Conn) error {
			say(l, conn, "SELECT 1", "SELECT 2")
			hear(l, conn, 2)
			return nil
		}, 1},
		{"a Flush that is waited for, and the Sync after it, are two", pgx.QueryExecModeExec, func(l *line, conn *pgx.Conn) error {
			pipeline := conn.PgConn().StartPipeline(l.ctx)
			pipeline.SendQueryParams("SELECT 1", nil, nil, nil, nil)
			pipeline.SendFlushRequest()
			if err := pipeline.Flush(); err != nil {
				return err
			}
			results, err := pipeline.GetResults()
			if err != nil {
				return err
			}
			if _, err := results.(*pgconn.ResultReader).Close(); err != nil {
				return err
			}
			if err := pipeline.Sync(); err != nil {
				return err
			}
			return pipeline.Close()
		}, 2},
		{"a COPY with its data is one", pgx.QueryExecModeExec, func(l *line, conn *pgx.Conn) error {
			_, err := conn.PgConn().CopyFrom(l.ctx, nothing{}, "COPY effects FROM STDIN")
			return err
		}, 1},
		{"the server's notices do not count", pgx.QueryExecModeExec, exec("DO $$ BEGIN RAISE WARNING 'noticed'; END $$"), 1},
		{"what is sent while an answer is owed belongs to the same", pgx.QueryExecModeExec, func(l *line, conn *pgx.Conn) error {
			require.NoError(l, exec("SELECT pg_advisory_lock(hashtext(current_schema()))")(l, l.past))
			say(l, conn, "SELECT 1", "SELECT pg_advisory_lock(hashtext(current_schema()))")
			hear(l, conn, 1)
			say(l, conn, "SELECT 1")
			for len(l.proxy.Executed()) < 3 && l.ctx.Err() == nil {
				runtime.Gosched()
			}
			require.NoError(l, exec("SELECT pg_advisory_unlock(hashtext(current_schema()))")(l, l.past))
			hear(l, conn, 2)
			return nil
		}, 1},
		{"ending the connection does not count", pgx.QueryExecModeExec, func(l *line, conn *pgx.Conn) error {
			err := conn.Close(l.ctx)
			l.eventually("the backend ends", "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)", conn.PgConn().PID())
			return err
		}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l := newLine(t, wireproxy.Config{})
			conn := l.connect(mode(test.mode))
			assert.Zero(t, l.proxy.RoundTrips(), "making the connection does not count")
			require.NoError(t, test.do(l, conn))
			assert.Equal(t, test.want, l.proxy.RoundTrips(), wireproxy.Lines(l.proxy.Statements()))
			l.proxy.Forget()
			assert.Zero(t, l.proxy.RoundTrips())
		})
	}
}

func exec(sql string, args ...any) func(*line, *pgx.Conn) error {
	return func(l *line, conn *pgx.Conn) error {
		_, err := conn.Exec(l.ctx, sql, args...)
		return err
	}
}

func fails(do func(*line, *pgx.Conn) error) func(*line, *pgx.Conn) error {
	return func(l *line, conn *pgx.Conn) error {
		require.Error(l, do(l, conn))
		return nil
	}
}

// say sends statements, each with a ReadyForQuery of its own to come, in one go.
func say(l *line, conn *pgx.Conn, statements ...string) {
	for _, sql := range statements {
		conn.PgConn().Frontend().SendQuery(&pgproto3.Query{String: sql})
	}
	require.NoError(l, conn.PgConn().Frontend().Flush())
}

// hear takes n answers.
func hear(l *line, conn *pgx.Conn, n int) {
	for n > 0 {
		m, err := conn.PgConn().Frontend().Receive()
		require.NoError(l, err)
		if _, ready := m.(*pgproto3.ReadyForQuery); ready {
			n--
		}
	}
}

// nothing is an empty COPY.
type nothing struct{}

func (nothing) Read([]byte) (int, error) { return 0, io.EOF }

func TestStatementsAreSeenInEveryExecMode(t *testing.T) {
	t.Parallel()
	const insert = "INSERT INTO effects VALUES ($1)"
	for _, test := range []struct {
		mode     pgx.QueryExecMode
		prepared int
	}{
		{pgx.QueryExecModeCacheStatement, 1},
		{pgx.QueryExecModeCacheDescribe, 1},
		{pgx.QueryExecModeDescribeExec, 2},
		{pgx.QueryExecModeExec, 0},
	} {
		t.Run(test.mode.String(), func(t *testing.T) {
			t.Parallel()
			l := newLine(t, wireproxy.Config{})
			conn := l.connect(mode(test.mode))
			for range 2 {
				require.NoError(t, exec(insert, "seen")(l, conn))
			}
			seen, executed := l.proxy.Statements(), l.proxy.Executed()
			require.Len(t, executed, 2, wireproxy.Lines(seen))
			for i, s := range executed {
				assert.Equal(t, insert, s.SQL)
				assert.Equal(t, i+1, s.Number)
				assert.Equal(t, conn.PgConn().PID(), s.Backend)
			}
			prepared := slices.DeleteFunc(seen, func(s wireproxy.Statement) bool { return !s.Prepare })
			assert.Len(t, prepared, test.prepared)
			for _, s := range prepared {
				assert.Equal(t, insert, s.SQL)
			}
		})
	}
	t.Run("simple protocol", func(t *testing.T) {
		t.Parallel()
		l := newLine(t, wireproxy.Config{})
		conn := l.connect(mode(pgx.QueryExecModeSimpleProtocol))
		require.NoError(t, exec(insert, "seen")(l, conn))
		executed := l.proxy.Executed()
		require.Len(t, executed, 1)
		assert.Contains(t, executed[0].SQL, "'seen'")
	})
}

func TestACommitIsKnownInWhateverItStands(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]bool{
		"COMMIT":                            true,
		"commit;":                           true,
		" Commit ; ":                        true,
		"END":                               true,
		"INSERT INTO t VALUES (1);COMMIT":   true,
		"INSERT INTO t VALUES (1); COMMIT;": true,
		"SELECT 'COMMIT'":                   false,
		"COMMIT; SELECT 1":                  false,
		"COMMIT PREPARED 'x'":               false,
		"":                                  false,
	} {
		assert.Equal(t, want, wireproxy.Statement{SQL: sql}.Commits(), sql)
	}
}

func TestAStatementPrintsAsOneLine(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "2.3 #4 SELECT 1 FROM t\n2.3 prepare COMMIT\n", wireproxy.Lines([]wireproxy.Statement{
		{Number: 4, Connection: 2, Trip: 3, SQL: "SELECT 1\n\tFROM t"},
		{Connection: 2, Trip: 3, SQL: "COMMIT", Prepare: true},
	}))
}

func TestConnectionsInATransactionAreInUse(t *testing.T) {
	t.Parallel()
	l := newLine(t, wireproxy.Config{})
	one, two := l.connect(), l.connect()
	l.proxy.Forget()
	wantUse := func(now, peak int) {
		t.Helper()
		n, p := l.proxy.InUse()
		assert.Equal(t, now, n)
		assert.Equal(t, peak, p)
	}
	wantUse(0, 0)
	require.NoError(t, exec("BEGIN")(l, one))
	wantUse(1, 1)
	require.NoError(t, exec("BEGIN")(l, two))
	wantUse(2, 2)
	require.NoError(t, exec("COMMIT")(l, one))
	wantUse(1, 2)
	l.proxy.Forget()
	wantUse(1, 1)
}
