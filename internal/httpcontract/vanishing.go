package httpcontract

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

var vanishingTests = []test{
	{"a client that vanishes in the middle of its body has asked for nothing", aClientThatVanishesInItsBody},
	{"a client that vanishes at any later stage finds one effect and one answer", aClientThatVanishesLater},
	{"a client that vanishes while the database is waited for leaves no lock", aClientThatVanishesWhileTheDatabaseIsWaitedFor},
	{"a client that vanishes in the middle of its answer gets all of it later", aClientThatVanishesInItsAnswer},
}

// How clients go. One that closes its half of the connection says that there is no more to come, and may listen on: net/http takes
// it for gone all the same, and still answers it.
var leavings = []struct {
	name    string
	leave   func(c *wire)
	listens bool
}{
	{"by a reset", func(c *wire) { c.reset() }, false},
	{"by an end", func(c *wire) { require.NoError(c, c.CloseWrite()) }, true},
}

func aClientThatVanishesInItsBody(w *world) {
	w.needs(LateBodies)
	for name, half := range map[string]string{
		"with a length": framed("k", `{"amount`, "Content-Length: 28"),
		"in chunks":     framed("k", "8\r\n{\"amount\r\n", inChunks),
	} {
		for _, leaving := range leavings {
			w.each(name+" "+leaving.name, func(w *world) {
				var asked atomic.Int64
				told, inside := make(chan struct{}), new(visits)
				route := w.asked(&asked).route(w.pays(http.StatusCreated))
				server, key := w.serve(inside.count(awaiting(route, 8, told))), w.key()
				conn := server.dial()
				conn.send(strings.Replace(half, "Idempotency-Key: k", "Idempotency-Key: "+key, 1))
				within(w, told)
				leaving.leave(conn)
				if leaving.listens {
					conn.answer().problem(idempotency.CodeRequestUnreadable)
				}
				w.leavesNothingBehind(inside)
				require.Zero(w, asked.Load())
				route.ran(0)
				first := server.talk(payment(key, "{}"))
				first.is(http.StatusCreated, `{"status":"answered"}`)
				server.talk(payment(key, "{}")).replays(first)
				route.ran(1)
			})
		}
	}
}

// leaving serves handler, and has the request that comes to stage wait there until its client is gone.
func (w *world) leaving(stage string, handler http.HandlerFunc) (route *route, server *server, reached chan struct{}, inside *visits) {
	gone, reached := make(chan struct{}), make(chan struct{})
	var once atomic.Bool
	at := func(now string) {
		if now == stage && once.CompareAndSwap(false, true) {
			close(reached)
			<-gone
		}
	}
	route = w.staging(at).route(func(writer http.ResponseWriter, r *http.Request) {
		at("handler")
		handler(writer, r)
		at("end of the handler")
		assert.NoError(w, r.Context().Err(), "the work ends with the client")
	})
	var calls atomic.Int64
	inside = new(visits)
	server = w.serve(inside.count(http.HandlerFunc(func(writer http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 1 {
			context.AfterFunc(r.Context(), func() { close(gone) })
		}
		route.ServeHTTP(writer, r)
	})))
	return route, server, reached, inside
}

func aClientThatVanishesLater(w *world) {
	w.needs(Disconnects)
	effects := 0
	for _, stage := range []string{"claim", "handler", "end of the handler", "commit", "committed"} {
		for _, leaving := range leavings {
			w.each(stage+" "+leaving.name, func(w *world) {
				route, server, reached, inside := w.leaving(stage, w.answers(http.StatusCreated))
				key := w.key()
				conn := server.dial()
				conn.send(payment(key, "{}"))
				within(w, reached)
				leaving.leave(conn)
				w.leavesNothingBehind(inside)
				ran := route.runs.Load() == 1
				if stage != "claim" {
					require.True(w, ran)
					effects++
					w.hasEffects(effects)
				}
				again := server.talk(payment(key, "{}"))
				require.Equal(w, http.StatusCreated, again.status, again.body)
				require.Equal(w, "payment 1\x00\xff", again.body)
				require.Equal(w, ran, len(again.header.Values("Idempotent-Replayed")) == 1)
				if leaving.listens {
					if first := conn.answer(); ran {
						again.replays(first)
					} else {
						first.problem(idempotency.CodeStoreUnavailable) // retryable
						effects++
					}
				} else if !ran {
					effects++
				}
				server.talk(payment(key, "{}")).replays(again)
				route.ran(1)
				w.hasEffects(effects)
				w.hasRecords(effects)
			})
		}
	}
}

func aClientThatVanishesWhileTheDatabaseIsWaitedFor(w *world) {
	w.needs(Disconnects)
	if w.pool == nil {
		w.Skip("there is no database")
	}
	// One that waits for the database for long: it must be the client's going that ends the wait.
	patient, err := w.reopen(time.Hour)
	require.NoError(w, err)
	waiting := *w
	waiting.store = patient
	w = &waiting
	for _, leaving := range leavings {
		w.each(leaving.name, func(w *world) {
			inside := new(visits)
			route := w.route(w.pays(http.StatusCreated))
			server, key := w.serve(inside.count(route)), w.key()
			blocker, err := w.pool.Begin(w.Context())
			require.NoError(w, err)
			_, err = blocker.Exec(w.Context(), `LOCK TABLE idempotency_keys IN ACCESS EXCLUSIVE MODE`)
			require.NoError(w, err)
			conn := server.dial()
			conn.send(payment(key, "{}"))
			require.Eventually(w, func() bool { return w.waiting() == 1 }, patience, 5*time.Millisecond, "the claim did not come to the table")
			leaving.leave(conn)
			require.Eventually(w, func() bool { return w.waiting() == 0 }, patience, 5*time.Millisecond, "the claim waits for nobody")
			require.NoError(w, blocker.Rollback(w.Context()))
			w.leavesNothingBehind(inside)
			route.ran(0)
			first := server.talk(payment(key, "{}"))
			first.is(http.StatusCreated, `{"status":"answered"}`)
			server.talk(payment(key, "{}")).replays(first)
			route.ran(1)
		})
	}
}

// waiting returns how many of the world's connections wait for a lock.
func (w *world) waiting() (n int) {
	w.Helper()
	require.NoError(w, w.pool.QueryRow(w.Context(), `SELECT count(*) FROM pg_stat_activity
		WHERE application_name = current_setting('application_name') AND wait_event_type = 'Lock'`).Scan(&n))
	return n
}

func aClientThatVanishesInItsAnswer(w *world) {
	text := strings.Repeat("0123456789abcdef", 64<<10)
	inside := new(visits)
	route := w.route(func(writer http.ResponseWriter, r *http.Request) {
		w.effect(r.Context())
		writer.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(writer, text)
	})
	server := w.serve(inside.count(route), narrowly)
	for i, key := range []string{"fresh", "fresh", "fresh"} { // the second and third time it is a replay
		conn := server.dial()
		require.NoError(w, conn.SetReadBuffer(32<<10))
		conn.send(payment(key, "{}"))
		_, err := conn.in.Peek(100)
		require.NoError(w, err)
		conn.reset()
		w.leavesNothingBehind(inside)
		w.hasEffects(1)
		require.EqualValues(w, 1, route.runs.Load(), i)
	}
	got := server.talk(payment("fresh", "{}"))
	require.Equal(w, http.StatusCreated, got.status)
	require.Equal(w, text, got.body)
	require.Equal(w, "true", got.header.Get("Idempotent-Replayed"))
	route.ran(1)
}
