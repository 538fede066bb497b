package grid

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/pgtest"
)

// world is a database whose payments are counted: nothing in it keeps a key from being paid twice.
type world struct {
	place
	pool *pgxpool.Pool
}

func newWorld(t *testing.T, adapter, store string) *world {
	t.Helper()
	w := &world{place: place{Adapter: adapter, Store: store, Schema: pgtest.Schema(t)}}
	w.URL = pgtest.SchemaURL(t, w.Schema)
	if store == "redisstore" {
		w.Redis = redisAddress(t)
	}
	w.pool = pgtest.Pool(t, w.Schema, func(c *pgxpool.Config) { c.MaxConns = 2 })
	_, err := w.pool.Exec(t.Context(), `CREATE TABLE paid (key text NOT NULL)`)
	require.NoError(t, err)
	return w
}

// payments returns how often the key was paid.
func (w *world) payments(t *testing.T, key string) (n int) {
	t.Helper()
	require.NoError(t, w.pool.QueryRow(t.Context(), `SELECT count(*) FROM paid WHERE key = $1`, key).Scan(&n))
	return n
}

// each runs a test for every adapter on every store that outlives a process.
func each(t *testing.T, run func(t *testing.T, adapter, store string)) {
	for _, store := range slices.Sorted(maps.Keys(tills)) {
		for _, adapter := range slices.Sorted(maps.Keys(adapters)) {
			t.Run(adapter+" on "+store, func(t *testing.T) {
				t.Parallel()
				run(t, adapter, store)
			})
		}
	}
}

// What redisstore's documentation admits is one payment more. With the others there was none when the process died.
func TestACrashBetweenThePaymentAndItsRecordIsWhatTheStoreSaysItIs(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, adapter, store string) {
		w := newWorld(t, adapter, store)
		paidBefore, paidAfter := 0, 1
		if store == "redisstore" {
			paidBefore, paidAfter = 1, 2
		}
		dying := w.place
		dying.Dies = true
		victim := dying.start(t)
		require.Error(t, victim.pay("key").err, "a dead server answers nobody")
		<-victim.ended
		if store != "redisstore" {
			w.rolledBack(t)
		}
		assert.Equal(t, paidBefore, w.payments(t, "key"), "paid by the process that died")

		next := w.start(t)
		first, _, ok := insist("key", func() *process { return next })
		require.True(t, ok, "stuck: %+v", first)
		assert.Equal(t, 201, first.status)
		assert.False(t, first.replayed)
		assert.Equal(t, paidAfter, w.payments(t, "key"), "paid in the end")

		again := w.start(t).pay("key")
		assert.True(t, again.replayed)
		assert.Equal(t, first.body, again.body)
		assert.Equal(t, paidAfter, w.payments(t, "key"))
	})
}

// rolledBack waits until the server has noticed that its client is dead.
func (w *world) rolledBack(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		var open int
		err := w.pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_locks WHERE relation = $1::regclass`, w.Schema+".paid").Scan(&open)
		return err == nil && open == 0
	}, patience, 5*time.Millisecond, "the dead process' transaction is still open")
}

const (
	stormKills   = 6
	stormClients = 6
)

func TestACrashStormDoublesNothingWhereThePaymentAndItsRecordAreOneCommit(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, adapter, store string) {
		w := newWorld(t, adapter, store)
		s := &storm{server: w.start(t)}
		var all sync.WaitGroup
		for i := range stormClients {
			all.Go(func() { s.client(t, fmt.Sprint("client-", i)) })
		}
		seed := rand.Uint64()
		random := rand.New(rand.NewPCG(seed, 0))
		for range stormKills {
			if !s.answered(2 + random.IntN(20)) {
				t.Error("the clients have stopped")
				break
			}
			s.now().kill()
			next := w.start(t)
			s.mu.Lock()
			s.server = next
			s.mu.Unlock()
		}
		s.mu.Lock()
		s.over = true
		s.mu.Unlock()
		all.Wait()

		doubled, lost := 0, 0
		for key, body := range s.answers {
			switch n := w.payments(t, key); {
			case n == 0:
				lost++
			case n > 1:
				doubled++
			}
			again, _, ok := insist(key, s.now)
			assert.True(t, ok && again.body == body, "%s was answered in two ways", key)
		}
		t.Logf("seed %d: %d SIGKILLs, %d keys, %d attempts that had to be repeated: %d doubled, %d lost", seed, stormKills, len(s.answers), s.repeated, doubled, lost)
		assert.Zero(t, lost)
		assert.Positive(t, s.repeated, "the kills hit nobody")
		if store != "redisstore" { // which may double any payment that a kill has hit between its two commits
			assert.Zero(t, doubled)
		}
	})
}

// storm is a server that is killed and started again, and clients that pay one key after the other.
type storm struct {
	mu       sync.Mutex
	server   *process
	over     bool
	answers  map[string]string
	repeated int
}

func (s *storm) now() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.server
}

// answered waits until n more keys are answered, and reports whether they were.
func (s *storm) answered(n int) bool {
	count := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.answers)
	}
	for begun, began := count(), time.Now(); count() < begun+n; time.Sleep(time.Millisecond) {
		if time.Since(began) > patience {
			return false
		}
	}
	return true
}

func (s *storm) client(t *testing.T, name string) {
	for i := 0; ; i++ {
		key := fmt.Sprint(name, "-", i)
		a, tries, ok := insist(key, s.now)
		assert.True(t, ok && a.status == 201, "%s: %+v", key, a)
		s.mu.Lock()
		if s.answers == nil {
			s.answers = map[string]string{}
		}
		s.answers[key] = a.body
		s.repeated += tries
		over := s.over
		s.mu.Unlock()
		if over {
			return
		}
	}
}
