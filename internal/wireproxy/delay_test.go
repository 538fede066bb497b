package wireproxy_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/internal/wireproxy"
)

// fastest returns the shortest of n measurements: the others tell of what else the machine had to do.
func fastest(n int, measure func()) time.Duration {
	shortest := time.Hour
	for range n {
		started := time.Now()
		measure()
		shortest = min(shortest, time.Since(started))
	}
	return shortest
}

func TestADelayIsAddedToEachDirectionOnce(t *testing.T) {
	t.Parallel()
	const delay = 3 * time.Millisecond
	l := newLine(t, wireproxy.Config{Delay: delay})
	conn := l.connect(mode(pgx.QueryExecModeExec))
	batch := func() {
		var b pgx.Batch
		for range 20 {
			b.Queue("SELECT 1")
		}
		require.NoError(t, conn.SendBatch(l.ctx, &b).Close())
	}
	one := fastest(40, func() { require.NoError(t, exec("SELECT 1")(l, conn)) })
	many := fastest(40, batch)
	t.Logf("a round trip took %v, a batch of 20 %v; the line alone takes %v", one, many, 2*delay)

	for _, took := range []time.Duration{one, many} {
		// What the proxy makes good of the machine's lateness it may be early by, at most 0.2 ms in each direction.
		assert.GreaterOrEqual(t, took, 2*delay-400*time.Microsecond)
		assert.Less(t, took, 4*delay, "what is sent together travels together, once there and once back")
	}
}

func BenchmarkARoundTrip(b *testing.B) {
	for _, rtt := range []time.Duration{0, 200 * time.Microsecond, time.Millisecond} {
		b.Run(rtt.String(), func(b *testing.B) {
			proxy, url := benchmarkLine(b, rtt)
			conn, err := pgx.Connect(b.Context(), url)
			require.NoError(b, err)
			defer conn.Close(b.Context())
			for b.Loop() {
				_, err := conn.Exec(b.Context(), "SELECT 1")
				require.NoError(b, err)
			}
			b.ReportMetric(float64(proxy.RoundTrips())/float64(b.N), "trips/op")
		})
	}
}

func benchmarkLine(b *testing.B, rtt time.Duration) (*wireproxy.Proxy, string) {
	direct := pgtest.URL(b)
	proxy, err := wireproxy.Listen(direct, wireproxy.Config{Delay: rtt / 2})
	require.NoError(b, err)
	b.Cleanup(func() { _ = proxy.Close() })
	url, err := proxy.URL(direct)
	require.NoError(b, err)
	return proxy, url
}
