package stack

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/wireproxy"
)

// briefly is how long a server that gives up waits: longer than a busy machine takes for what it does not have to wait for.
const briefly = 3 * time.Second

// A commit that waits for a standby can be cancelled. It is visible then, and not replicated, and PostgreSQL reports it as a
// success with a warning. Neither is it a success, nor is the replay of it, until the standby has it.
func TestACommitThatNoStandbyConfirmedIsNotReportedAsSuccess(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"pg_cancel_backend", "pg_terminate_backend"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			w, _ := newOwnWorld(t)
			// The one that is asked to pay waits for as long as it takes; the others give up.
			s := startServer(t, settings{URL: w.url, Timeout: patience})
			brief := startServer(t, settings{URL: w.url, Timeout: briefly})
			require.Equal(t, 201, s.send(payFor("alice", "before")).status)
			w.alter(t, "synchronous_standby_names", "nobody")
			first, key := awaitUnconfirmed(t, w, s)
			_, err := w.pool.Exec(deadline(t), "SELECT "+end+"(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
			require.NoError(t, err)

			r := result(t, first)
			assert.Equal(t, 503, r.status, r.body)
			assert.Equal(t, "outcome-unknown", r.code())
			assert.Equal(t, "1", r.header.Get("Retry-After"))
			assert.Equal(t, once, w.effects(t, key), "it is there, though not on a standby")
			assert.Equal(t, "503 outcome-unknown", brief.send(payFor("alice", key)).String())
			w.eventually(t, "nobody waits", "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep')")

			again := s.start(payFor("alice", key))
			w.eventually(t, "the replay waits", "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep')")
			var before time.Time
			require.NoError(t, w.pool.QueryRow(deadline(t), "SELECT clock_timestamp()").Scan(&before))
			_, err = w.pool.Exec(deadline(t), "SELECT "+end+"(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
			require.NoError(t, err)
			eventually(t, "it is answered, or waits anew", func() (waits bool, err error) {
				select {
				case early := <-again:
					assert.Equal(t, "503 outcome-unknown", early.String())
					again = s.start(payFor("alice", key))
				default:
				}
				err = w.pool.QueryRow(deadline(t), "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query_start > $1)", before).Scan(&waits)
				return waits, err
			})

			w.alter(t, "synchronous_standby_names", "")
			retried := result(t, again)
			assert.Equal(t, 201, retried.status, retried.body)
			assert.True(t, retried.replayed)
			assert.Equal(t, once, w.effects(t, key))
		})
	}
}

// alter changes a setting of the server, which its processes take over one by one.
func (w *world) alter(t *testing.T, setting, value string) {
	t.Helper()
	for _, sql := range []string{"ALTER SYSTEM SET " + setting + " = '" + value + "'", "SELECT pg_reload_conf()"} {
		_, err := w.pool.Exec(deadline(t), sql)
		require.NoError(t, err)
	}
}

// awaitUnconfirmed pays until a commit waits for the standby: the server's processes take the setting over one by one.
func awaitUnconfirmed(t *testing.T, w *world, s *server) (<-chan reply, string) {
	t.Helper()
	for i := range 1000 {
		key := fmt.Sprintf("key-%d", i)
		started := s.start(payFor("alice", key))
		for waits := false; ; {
			select {
			case r := <-started:
				require.Equal(t, 201, r.status, r.body)
			default:
				err := w.pool.QueryRow(deadline(t), "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep')").Scan(&waits)
				require.NoError(t, err)
				if waits {
					return started, key
				}
				continue
			}
			break
		}
	}
	t.Fatal("no commit waits for a standby")
	return nil, ""
}

// A standby that goes away and comes back delays those who pay in the meantime, and whoever asks again. Each of them gets an answer once
// it is back, and whoever gave up before gets the same one later.
func TestAStandbyThatGoesAwayAndComesBackDelaysAndDoublesNothing(t *testing.T) {
	t.Parallel()
	everybody := accounts(4)
	r := newReplicated(t, false, everybody...)
	r.synchronous(t)
	patient := startServer(t, settings{URL: r.url, Timeout: patience})
	brief := startServer(t, settings{URL: r.url, Timeout: briefly})
	before := brief.send(payFor(everybody[0], "before"))
	require.Equal(t, 201, before.status, before.body)

	r.cut(t)
	waiting := patient.start(payFor(everybody[1], "patient"))
	r.eventually(t, "it waits for the standby", "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep')")
	assert.Equal(t, "503 outcome-unknown", brief.send(payFor(everybody[2], "brief")).String())
	assert.Equal(t, once, r.effects(t, "brief"), "it is there, though not on the standby")
	assert.Equal(t, "503 outcome-unknown", brief.send(payFor(everybody[2], "brief")).String(), "so is not a success yet")
	assert.Equal(t, never, r.effects(t, "patient"), "nobody sees what waits")
	assert.Equal(t, "409 in-progress", brief.send(payFor(everybody[1], "patient")).String())

	r.rejoin(t)
	answer := result(t, waiting)
	assert.Equal(t, 201, answer.status, answer.body)
	wantSame(t, answer, brief.send(payFor(everybody[1], "patient")))
	late, _ := insist(t, payFor(everybody[2], "brief"), brief, patient)
	assert.Equal(t, 201, late.status, late.body)
	assert.True(t, late.replayed)

	require.NoError(t, r.primary.Kill())
	promoted := r.promote(t)
	for _, key := range []string{"before", "patient", "brief"} {
		assert.Equal(t, once, promoted.effects(t, key), key)
	}
	promoted.wantBalanced(t)
}

// A primary that crashes and is back shows what it had not told anybody of, before its standby is there. A replay of that waits too.
func TestWhatACrashOfThePrimaryMadeVisibleIsNotReplayedBeforeTheStandbyHasIt(t *testing.T) {
	t.Parallel()
	r := newReplicated(t, false)
	r.synchronous(t)
	s := startServer(t, settings{URL: r.url, Timeout: briefly})
	proxy, url := r.behind(t, wireproxy.Config{})
	owner := startServer(t, settings{URL: url, Timeout: patience})
	r.cut(t)
	first := owner.start(payFor("alice", "key"))
	r.eventually(t, "it waits for the standby", "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep')")
	require.NoError(t, r.primary.Kill())
	require.NoError(t, r.primary.StartAgain(deadline(t)))
	proxy.Reset()
	assert.Equal(t, once, r.effects(t, "key"), "the crash has ended its wait")
	assert.Equal(t, "503 outcome-unknown", s.send(payFor("alice", "key")).String())
	select {
	case r := <-first:
		t.Fatalf("answered without a standby: %v", r)
	default:
	}

	r.rejoin(t)
	answer := result(t, first)
	assert.Equal(t, 201, answer.status, answer.body)
	assert.Len(t, owner.events.of(idempotency.UnknownResolved), 1, "read back")
	again, _ := insist(t, payFor("alice", "key"), s)
	wantSame(t, answer, again)
	assert.Equal(t, once, r.effects(t, "key"))
}
