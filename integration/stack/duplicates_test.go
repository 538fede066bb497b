package stack

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const herd = 200

// stampede sends one request many times at once, to each server in turn.
func stampede(t *testing.T, r request, servers ...*server) []reply {
	t.Helper()
	started := make([]<-chan reply, herd)
	for i := range started {
		started[i] = servers[i%len(servers)].start(r)
	}
	replies := make([]reply, herd)
	for i := range replies {
		replies[i] = result(t, started[i])
		require.NoError(t, replies[i].err)
	}
	return replies
}

func twoProcesses(t *testing.T, with settings) []*server {
	t.Helper()
	return []*server{startProcess(t, with).server, startProcess(t, with).server}
}

func TestDuplicatesThatWaitAllGetTheOneAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	servers := twoProcesses(t, settings{URL: w.url, Wait: patience})

	replies := stampede(t, payFor("alice", "key"), servers...)

	fresh := 0
	for _, r := range replies {
		require.Equal(t, http.StatusCreated, r.status, r.body)
		wantSame(t, replies[0], r)
		if !r.replayed {
			fresh++
		}
	}
	assert.Equal(t, 1, fresh, "answers that are not replays")
	assert.Equal(t, once, w.effects(t, "key"))
	w.wantBalanced(t)
}

func TestDuplicatesThatDoNotWaitAreToldToComeBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	servers := twoProcesses(t, settings{URL: w.url})

	replies := stampede(t, payFor("alice", "key"), servers...)

	var stands *reply
	conflicts := 0
	for i, r := range replies {
		if r.status == http.StatusConflict {
			conflicts++
			assert.Equal(t, "in-progress", r.code())
			assert.Equal(t, "1", r.header.Get("Retry-After"))
			continue
		}
		require.Equal(t, http.StatusCreated, r.status, r.body)
		if stands == nil {
			stands = &replies[i]
		}
		wantSame(t, *stands, r)
	}
	require.NotNil(t, stands, "nobody was answered")
	t.Logf("%d of %d were told to come back, the others got the answer", conflicts, herd)
	for _, s := range servers {
		again := s.send(payFor("alice", "key"))
		wantSame(t, *stands, again)
		assert.True(t, again.replayed)
	}
	assert.Equal(t, once, w.effects(t, "key"))
	w.wantBalanced(t)
}

func TestAWaitThatIsOverIsAConflict(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	slow, point := stopped(t, w, settings{URL: w.url}, isPaymentInsert)
	impatient := startServer(t, settings{URL: w.url, Wait: 50 * time.Millisecond})
	first := slow.start(payFor("alice", "key"))
	reach(t, point, first)

	second := impatient.send(payFor("alice", "key"))

	assert.Equal(t, http.StatusConflict, second.status)
	point.Resume()
	wantSame(t, result(t, first), impatient.send(payFor("alice", "key")))
	assert.Equal(t, once, w.effects(t, "key"))
}
