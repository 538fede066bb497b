package stack

import (
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/wireproxy"
)

func TestFiveHundredDuplicatesInOneProcessHoldOneConnection(t *testing.T) {
	t.Parallel()
	const duplicates = 500
	w := newWorld(t)
	proxy, url := w.behind(t, wireproxy.Config{})
	var arrived atomic.Int32
	all := make(chan struct{})
	s := startServer(t, settings{URL: url, Wait: patience, Connections: 20}, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if arrived.Add(1) == duplicates {
				close(all)
			}
			next.ServeHTTP(w, r)
		})
	})
	point := proxy.At(isPaymentInsert, wireproxy.Stop)

	replies := make([]<-chan reply, duplicates)
	for i := range replies {
		replies[i] = s.start(payFor("alice", "key"))
	}
	await(t, "all of them are there", all)
	await(t, "one of them is at work", point.Reached())
	acquired := s.pool.Stat().AcquiredConns()
	point.Resume()
	first := result(t, replies[0])
	for _, waiting := range replies {
		if waiting == replies[0] {
			continue
		}
		wantSame(t, first, result(t, waiting))
	}

	_, peak := proxy.InUse()
	t.Logf("%d duplicates: %d connection held while they waited, %d in use at most, %d statements in all", duplicates, acquired, peak, len(proxy.Executed()))
	assert.EqualValues(t, 1, acquired)
	assert.Equal(t, 1, peak)
	require.Len(t, s.events.of(idempotency.Claimed), 1, "executions")
	assert.Equal(t, once, w.effects(t, "key"))
}
