package stack

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

// stormVariable is how many servers are killed: 10 unless it says otherwise, so that the suite stays short.
const stormVariable = "ONLYONCE_STORM_KILLS"

// storm is two server processes, one of which is killed and started again all the time, and clients that retry.
type storm struct {
	t    *testing.T
	with settings

	mu      sync.Mutex
	servers [2]*process
	over    bool
	longest time.Duration
	keys    []string
	retried int
}

func TestACrashStormDoublesNothingAndLosesNothing(t *testing.T) {
	t.Parallel()
	kills, clients := 10, 16
	if set := os.Getenv(stormVariable); set != "" {
		n, err := strconv.Atoi(set)
		require.NoError(t, err, stormVariable)
		kills = n
	}
	crashStorm(t, settings{}, kills, clients)
}

// crashStorm kills servers that keep their keys by this lock.
func crashStorm(t *testing.T, with settings, kills, clients int) {
	t.Helper()
	accounts := make([]string, clients)
	for i := range accounts {
		accounts[i] = fmt.Sprintf("account-%d", i)
	}
	w := newWorld(t, accounts...)
	seed := rand.Uint64()
	with.URL, with.Connections = w.url, 8
	s := &storm{t: t, with: with}
	for i := range s.servers {
		s.servers[i] = startProcess(t, s.with)
	}
	var all sync.WaitGroup
	for _, account := range accounts {
		all.Go(func() { s.client(account) })
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()

	started := time.Now()
	s.rage(kills, rand.New(rand.NewPCG(seed, 0)))
	raged := time.Since(started)
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	await(t, "every client has its last answer", done)

	doubled, missing := 0, 0
	for _, key := range s.keys {
		switch did := w.effects(t, key); {
		case did == once:
		case did.Payments == 0:
			missing++
		default:
			doubled++
			t.Logf("%s: %+v", key, did)
		}
	}
	t.Logf("seed %d: %d SIGKILLs in %v, %d keys, %d attempts that had to be repeated, longest wait for an answer %v",
		seed, kills, raged.Round(time.Millisecond), len(s.keys), s.retried, s.longest.Round(time.Millisecond))
	assert.Zero(t, doubled, "doubled")
	assert.Zero(t, missing, "missing")
	assert.Greater(t, s.retried, kills/2, "the kills hit nobody")
	assert.Less(t, s.longest, patience/2, "longest wait")
	w.wantBalanced(t)
}

// rage kills one of the servers when it has begun a few payments, and starts another one in its place.
func (s *storm) rage(kills int, random *rand.Rand) {
	for range kills {
		place := random.IntN(len(s.servers))
		s.mu.Lock()
		victim := s.servers[place]
		s.mu.Unlock()
		begun := len(victim.events.of(idempotency.Claimed))
		if !victim.events.await(idempotency.Claimed, begun+1+random.IntN(30), patience) {
			s.t.Errorf("the clients have stopped: %d payments begun", begun)
			return
		}
		victim.kill()
		next := startProcess(s.t, s.with)
		s.mu.Lock()
		s.servers[place] = next
		s.mu.Unlock()
	}
}

// client pays, one key after the other, and repeats each request until it is answered.
func (s *storm) client(account string) {
	for i := 0; ; i++ {
		s.mu.Lock()
		over := s.over
		s.mu.Unlock()
		if over {
			return
		}
		key := fmt.Sprintf("%s-%d", account, i)
		started := time.Now()
		attempts := 0
		for ; ; attempts++ {
			s.mu.Lock()
			to := s.servers[(i+attempts)%len(s.servers)]
			s.mu.Unlock()
			r := to.send(payFor(account, key))
			if !r.again() {
				assert.Equal(s.t, 201, r.status, r.body)
				break
			}
			if time.Since(started) > patience {
				s.t.Errorf("%s is stuck: %v", key, r)
				return
			}
			time.Sleep(2 * time.Millisecond)
		}
		s.mu.Lock()
		s.keys = append(s.keys, key)
		s.retried += attempts
		s.longest = max(s.longest, time.Since(started))
		s.mu.Unlock()
	}
}
