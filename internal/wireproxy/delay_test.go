package wireproxy_test

import (
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/internal/wireproxy"
)

// median returns the middle of n measurements.
func median(n int, measure func()) time.Duration {
	took := make([]time.Duration, n)
	for i := range took {
		started := time.Now()
		measure()
		took[i] = time.Since(started)
	}
	slices.Sort(took)
	return took[n/2]
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
	one := median(21, func() { require.NoError(t, exec("SELECT 1")(l, conn)) })
	many := median(21, batch)
	t.Logf("a round trip took %v, a batch of 20 %v; the line alone takes %v", one, many, 2*delay)

	// Below: never, whatever the machine does. Above: a machine with other work, but less than another round trip.
	assert.GreaterOrEqual(t, one, 2*delay-200*time.Microsecond)
	assert.Less(t, one, 4*delay)
	assert.GreaterOrEqual(t, many, 2*delay-200*time.Microsecond)
	assert.Less(t, many, 4*delay, "what is sent together travels together")
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
