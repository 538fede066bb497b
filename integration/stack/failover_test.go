package stack

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

// takeover is a way for servers to find the promoted standby, and for the primary to be lost.
type takeover struct {
	name string
	// url is what the servers are started with.
	url func(*testing.T, *replicated) string
	// lose takes the primary away.
	lose func(*testing.T, *replicated)
	// doubt: the line to the standby is cut before, so that commits wait for it when the primary is lost.
	doubt bool
	// within is how long a client may have to wait. pgx takes 15 seconds to part from a connection whose other end is silent.
	within time.Duration
}

var takeovers = []takeover{
	{
		name:   "both servers are in the URL",
		url:    func(t *testing.T, r *replicated) string { return r.either(t) },
		lose:   func(t *testing.T, r *replicated) { require.NoError(t, r.primary.Kill()) },
		within: 15 * time.Second,
	},
	{
		name:   "the address moves",
		url:    func(t *testing.T, r *replicated) string { return r.through(t) },
		lose:   func(t *testing.T, r *replicated) { require.NoError(t, r.primary.Kill()) },
		doubt:  true,
		within: 15 * time.Second,
	},
	{
		name: "both servers are in the URL, and the first vanishes",
		url: func(t *testing.T, r *replicated) string {
			return at(t, r.url, r.address.String()+","+r.standby.Address(), "read-write")
		},
		lose:   func(_ *testing.T, r *replicated) { r.address.vanish() },
		doubt:  true,
		within: 45 * time.Second,
	},
}

// start starts two server processes that know the database by the takeover's URL.
func (o takeover) start(t *testing.T, r *replicated) []*server {
	t.Helper()
	with := settings{URL: o.url(t, r), Connections: 8, Timeout: 2 * time.Second, HandlerTimeout: 2 * time.Second}
	return twoProcesses(t, with)
}

// A commit that waited for the standby is on the standby. One that still waits when the primary is lost was not acknowledged, and
// its client finds out.
func TestAFailoverToASynchronousStandbyLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	for _, o := range takeovers {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			everybody := accounts(12)
			r := newReplicated(t, false, everybody...)
			r.synchronous(t)
			servers := o.start(t, r)
			clients := startTraffic(everybody, servers...)
			clients.more(t, 100)
			if o.doubt {
				r.cut(t)
				r.awaitWaiting(t, clients)
			}

			lost := time.Now()
			o.lose(t, r)
			promoted := r.promote(t)
			clients.more(t, 100)
			t.Logf("100 payments later %v have passed", time.Since(lost).Round(time.Millisecond))
			all := clients.stop(t)

			assert.Positive(t, clients.answers["503 store-unavailable"]+clients.answers["503 outcome-unknown"], "the failover hit nobody")
			if o.doubt {
				doubts := clients.answers["503 outcome-unknown"]
				for _, s := range servers {
					doubts += len(s.events.of(idempotency.UnknownResolved))
				}
				assert.Positive(t, doubts, "no commit was in doubt")
			}
			for i, p := range all {
				require.Equal(t, once, promoted.effects(t, p.key), p.key)
				again, _ := insist(t, p.request, servers[i%2])
				assert.True(t, again.replayed, p.key)
				wantSame(t, p.answer, again)
			}
			promoted.wantBalanced(t)
			assert.Less(t, clients.longest, o.within)
		})
	}
}

// awaitWaiting waits until commits wait for the standby or, if they do not wait, until the clients have gone on for a while.
func (r *replicated) awaitWaiting(t *testing.T, clients *traffic) {
	t.Helper()
	before := clients.count()
	eventually(t, "commits wait for the standby", func() (bool, error) {
		var waiting int
		err := r.pool.QueryRow(deadline(t), "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'").Scan(&waiting)
		return waiting >= 4 || clients.count() > before+200, err
	})
}

// What only the primary had is gone with it. It is gone as a whole: there is no replay of a payment that is not there, and no payment
// without its key.
func TestAFailoverToAnAsynchronousStandbyLosesAPaymentWithItsKey(t *testing.T) {
	t.Parallel()
	for _, o := range takeovers[:2] {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			everybody := accounts(12)
			r := newReplicated(t, false, everybody...)
			servers := o.start(t, r)
			clients := startTraffic(everybody, servers...)
			clients.more(t, 100)
			safe := clients.count()
			r.caughtUp(t)
			r.cut(t)
			cut := time.Now()
			clients.more(t, 100)
			toPrimary := time.Now()
			r.pool.Close()
			o.lose(t, r)
			promoted := r.promote(t)
			clients.more(t, 50)
			all := clients.stop(t)

			lost, kept := 0, 0
			for i, p := range all {
				did := promoted.effects(t, p.key)
				again, _ := insist(t, p.request, servers[i%2])
				assert.Equal(t, 201, again.status, again.body)
				switch did {
				case once:
					kept++
					assert.True(t, again.replayed, p.key)
					wantSame(t, p.answer, again)
				case never:
					lost++
					assert.GreaterOrEqual(t, i, safe, "%s: acknowledged, and seen on the standby", p.key)
					assert.False(t, again.replayed, "%s: an answer without its payment", p.key)
					assert.NotEqual(t, p.answer.body, again.body)
				default:
					t.Errorf("%s is there by halves: %+v", p.key, did)
				}
				if p.begun.After(cut) && p.answered.Before(toPrimary) {
					assert.Equal(t, never, did, "%s came through a line that was cut", p.key)
				}
				require.Equal(t, once, promoted.effects(t, p.key), p.key)
			}
			promoted.wantBalanced(t)
			t.Logf("%d payments acknowledged and kept, %d acknowledged and lost", kept, lost)
			assert.Greater(t, lost, 20, "the failover lost nothing: this was not tested")
			assert.GreaterOrEqual(t, kept, safe)
			assert.Positive(t, clients.answers["503 store-unavailable"], "the failover hit nobody")
		})
	}
}
