package wireproxy_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/wireproxy"
)

// commit writes an effect and commits it in one pipeline, and returns the error by which the client learns of it.
func (l *line) commit(conn *pgx.Conn, name string) error {
	batch := &pgx.Batch{}
	batch.Queue("BEGIN")
	batch.Queue("INSERT INTO effects VALUES ($1)", name)
	batch.Queue("COMMIT")
	return conn.SendBatch(l.ctx, batch).Close()
}

func TestACommitIsLostOrItsReplyIs(t *testing.T) {
	t.Parallel()
	for _, m := range []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
	} {
		for _, test := range []struct {
			name   string
			action wireproxy.Action
			want   int
		}{
			{"cut before", wireproxy.CutBefore, 0},
			{"reset before", wireproxy.ResetBefore, 0},
			{"half closed", wireproxy.HalfClose, 0},
			{"cut after", wireproxy.CutAfter, 1},
			{"reset after", wireproxy.ResetAfter, 1},
			{"told that it failed", wireproxy.FailAfter, 1},
		} {
			t.Run(test.name+" in "+m.String(), func(t *testing.T) {
				t.Parallel()
				l := newLine(t, wireproxy.Config{})
				conn := l.connect(mode(m))
				require.NoError(t, l.commit(conn, "before"))
				point := l.proxy.At(wireproxy.Statement.Commits, test.action)

				require.Error(t, l.commit(conn, "lost"))

				l.await("the point is done", point.Done())
				assert.True(t, point.Statement().Commits())
				assert.Equal(t, test.want, l.effects("lost"))
				assert.Equal(t, 1, l.effects("before"))
				require.NoError(t, l.commit(l.connect(mode(m)), "after"), "a point acts once")
				assert.Equal(t, 1, l.effects("after"))
			})
		}
	}
}

func TestAnOrphanedCommitHappensAfterItsClientHasGone(t *testing.T) {
	t.Parallel()
	l := newLine(t, wireproxy.Config{})
	conn := l.connect()
	require.NoError(t, l.commit(conn, "warm"))
	point := l.proxy.At(wireproxy.Statement.Commits, wireproxy.Orphan)

	require.Error(t, l.commit(conn, "orphaned"))
	assert.Zero(t, l.effects("orphaned"))
	point.Resume()
	l.await("the point is done", point.Done())

	assert.Equal(t, 1, l.effects("orphaned"))
}

func TestAnOrphanCannotBeCancelledByTheClientThatLostIt(t *testing.T) {
	t.Parallel()
	l := newLine(t, wireproxy.Config{})
	conn := l.connect(mode(pgx.QueryExecModeExec))
	require.NoError(t, exec("BEGIN")(l, l.past))
	require.NoError(t, exec("LOCK TABLE effects")(l, l.past))
	point := l.proxy.At(func(s wireproxy.Statement) bool { return strings.HasPrefix(s.SQL, "INSERT") }, wireproxy.Orphan)
	require.Error(t, l.commit(conn, "orphaned"))
	point.Resume()
	l.eventually("the INSERT waits", "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $1 AND NOT granted)", point.Statement().Backend)

	_ = conn.PgConn().CancelRequest(l.ctx)

	require.NoError(t, exec("COMMIT")(l, l.past))
	l.await("the point is done", point.Done())
	assert.Equal(t, 1, l.effects("orphaned"))
}

func TestAStoppedStatementWaitsAtTheProxyInsideItsPipeline(t *testing.T) {
	t.Parallel()
	l := newLine(t, wireproxy.Config{})
	conn := l.connect()
	require.NoError(t, l.commit(conn, "warm"))
	l.proxy.Forget()
	point := l.proxy.At(wireproxy.Number(3), wireproxy.Stop)
	committed := make(chan error, 1)
	go func() { committed <- l.commit(conn, "stopped") }()
	l.await("the statement is there", point.Reached())

	// What is ahead of it in the pipeline was executed: the transaction has an id and waits.
	l.eventually("the INSERT was executed", "SELECT backend_xid IS NOT NULL FROM pg_stat_activity WHERE pid = $1", conn.PgConn().PID())
	assert.Equal(t, "COMMIT", point.Statement().SQL)
	assert.Zero(t, l.effects("stopped"))
	point.Resume()
	point.Resume()
	require.NoError(t, <-committed)
	l.await("the point is done", point.Done())
	assert.Equal(t, 1, l.effects("stopped"))
}

func TestAStatementWhoseClientDiesWhileItIsStoppedIsNeverSent(t *testing.T) {
	t.Parallel()
	l := newLine(t, wireproxy.Config{})
	conn := l.connect()
	point := l.proxy.At(wireproxy.Statement.Commits, wireproxy.Stop)
	committed := make(chan error, 1)
	go func() { committed <- l.commit(conn, "stopped") }()
	l.await("the statement is there", point.Reached())

	require.NoError(t, conn.PgConn().Conn().Close())

	l.await("the point is done", point.Done())
	require.Error(t, <-committed)
	l.eventually("the backend ends", "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)", point.Statement().Backend)
	point.Resume()
	assert.Zero(t, l.effects("stopped"))
}

func TestAnAnswerIsHeldBackAfterItsStatementWasExecuted(t *testing.T) {
	t.Parallel()
	l := newLine(t, wireproxy.Config{})
	conn := l.connect()
	point := l.proxy.At(wireproxy.Statement.Commits, wireproxy.StopAfter)
	committed := make(chan error, 1)
	go func() { committed <- l.commit(conn, "held") }()
	l.await("the answer is there", point.Reached())

	assert.Equal(t, 1, l.effects("held"))
	select {
	case err := <-committed:
		t.Fatalf("the client has its answer already: %v", err)
	default:
	}
	point.Resume()
	require.NoError(t, <-committed)
	l.await("the point is done", point.Done())
	require.NoError(t, l.commit(conn, "afterwards"), "the connection goes on")
}

func TestAClientThatDiesWhileItsAnswerIsHeldTakesItsBackendWithIt(t *testing.T) {
	t.Parallel()
	l := newLine(t, wireproxy.Config{})
	conn := l.connect()
	point := l.proxy.At(wireproxy.Statement.Commits, wireproxy.StopAfter)
	go func() { _ = l.commit(conn, "held") }()
	l.await("the answer is there", point.Reached())

	require.NoError(t, conn.PgConn().Conn().Close())

	l.await("the point is done", point.Done())
	l.eventually("the backend ends", "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)", point.Statement().Backend)
	assert.Equal(t, 1, l.effects("held"))
}

func TestPointsAreTakenInTheOrderOfTheirMaking(t *testing.T) {
	t.Parallel()
	l := newLine(t, wireproxy.Config{})
	conn := l.connect(mode(pgx.QueryExecModeExec))
	isInsert := func(s wireproxy.Statement) bool { return strings.HasPrefix(s.SQL, "INSERT") }
	first, second := l.proxy.At(isInsert, wireproxy.Stop), l.proxy.At(isInsert, wireproxy.Stop)
	first.Resume()
	second.Resume()

	require.NoError(t, l.commit(conn, "one"))
	l.await("the first is done", first.Done())
	select {
	case <-second.Reached():
		t.Fatal("one statement took two points")
	default:
	}
	require.NoError(t, l.commit(conn, "two"))
	l.await("the second is done", second.Done())
}

func TestClosingTheProxyEndsWhatIsStopped(t *testing.T) {
	t.Parallel()
	for _, action := range []wireproxy.Action{wireproxy.Stop, wireproxy.HalfClose, wireproxy.Orphan, wireproxy.StopAfter} {
		l := newLine(t, wireproxy.Config{})
		conn := l.connect()
		point := l.proxy.At(wireproxy.Statement.Commits, action)
		committed := make(chan error, 1)
		go func() { committed <- l.commit(conn, "stopped") }()
		l.await("the statement is there", point.Reached())

		require.NoError(t, l.proxy.Close())

		require.Error(t, <-committed)
		l.await("the point is done", point.Done())
		want := 0
		if action == wireproxy.StopAfter {
			want = 1
		}
		assert.Equal(t, want, l.effects("stopped"))
	}
}
