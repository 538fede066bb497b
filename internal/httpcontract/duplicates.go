package httpcontract

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

var duplicateTests = []test{
	{"a duplicate of a running request is turned away", aDuplicateOfARunningRequestIsTurnedAway},
	{"a duplicate that may wait gets the answer", aDuplicateThatMayWaitGetsTheAnswer},
	{"a herd has one execution and one answer", aHerdHasOneExecution},
	{"when the first of a herd fails the next one runs", whenTheFirstOfAHerdFailsTheNextOneRuns},
	{"a client that goes away finds its answer later", aClientThatGoesAwayFindsItsAnswerLater},
}

func waiting(e *idempotency.Config, _ *Config) { e.Wait = patience }

// running starts a request whose handler is inside until the test calls finish, which returns its answer.
func (w *world) running(key string, options ...option) (route *route, finish func() answer) {
	w.Helper()
	inside, release, answered := make(chan struct{}), make(chan struct{}), make(chan answer, 1)
	pays := w.pays(http.StatusCreated)
	route = w.route(func(writer http.ResponseWriter, r *http.Request) {
		close(inside)
		<-release
		pays(writer, r)
	}, options...)
	go func() { answered <- route.post(key, "{}") }()
	within(w, inside)
	return route, func() answer {
		close(release)
		return within(w, answered)
	}
}

func aDuplicateOfARunningRequestIsTurnedAway(w *world) {
	route, finish := w.running("k")
	elsewhere := w.route(w.pays(http.StatusCreated)) // another process
	for range 3 {
		route.post("k", "{}").problem(idempotency.CodeInProgress)
		elsewhere.post("k", "{}").problem(idempotency.CodeInProgress)
	}
	elsewhere.post("another-key", "{}").is(http.StatusCreated, `{"status":"answered"}`)
	elsewhere.ran(1)

	first := finish()
	first.is(http.StatusCreated, `{"status":"answered"}`)
	route.post("k", "{}").replays(first)
	elsewhere.post("k", "{}").replays(first)
	route.ran(1)
	elsewhere.ran(0)
	w.hasEffects(2)
}

func aDuplicateThatMayWaitGetsTheAnswer(w *world) {
	route, finish := w.running("k", waiting)
	elsewhere := w.route(w.pays(http.StatusCreated), waiting)
	answers := make(chan answer, 2)
	for _, at := range []http.Handler{route, elsewhere} {
		go func() { answers <- serve(w, at, post("k", "{}")) }()
	}
	first := finish()
	first.is(http.StatusCreated, `{"status":"answered"}`)
	for range cap(answers) {
		within(w, answers).replays(first)
	}
	route.ran(1)
	elsewhere.ran(0)
	w.hasEffects(1)
}

// herd sends the same request many times at once, over sockets, to two processes.
func (w *world) herd(handler http.HandlerFunc) (answers []answer) {
	const size = 100
	servers := []*server{w.serve(w.route(handler, waiting)), w.serve(w.route(handler, waiting))}
	got := make(chan answer, size)
	var started, over sync.WaitGroup
	started.Add(size)
	for i := range size {
		over.Go(func() {
			started.Done()
			started.Wait()
			response, err := servers[i%2].Client().Do(servers[i%2].request("k", nil))
			if assert.NoError(w, err) {
				got <- read(w, response)
			}
		})
	}
	over.Wait()
	close(got)
	for a := range got {
		answers = append(answers, a)
	}
	require.Len(w, answers, size)
	return answers
}

func aHerdHasOneExecution(w *world) {
	var runs atomic.Int64
	answers := w.answers(http.StatusCreated)
	got := w.herd(func(writer http.ResponseWriter, r *http.Request) {
		runs.Add(1)
		answers(writer, r)
	})
	replays := 0
	for _, a := range got {
		require.Equal(w, http.StatusCreated, a.status, a.body)
		require.Equal(w, "payment 1\x00\xff", a.body)
		require.Equal(w, "/payments/1", a.header.Get("Location"))
		if a.header.Get("Idempotent-Replayed") == "true" {
			replays++
		}
	}
	require.EqualValues(w, 1, runs.Load())
	require.Equal(w, len(got)-1, replays)
	w.hasEffects(1)
	w.hasRecords(1)
}

func whenTheFirstOfAHerdFailsTheNextOneRuns(w *world) {
	var runs atomic.Int64
	got := w.herd(func(writer http.ResponseWriter, r *http.Request) {
		w.effect(r.Context())
		n := runs.Add(1)
		if n < 3 {
			writer.WriteHeader(http.StatusServiceUnavailable)
		} else {
			writer.WriteHeader(http.StatusCreated)
		}
		_, _ = fmt.Fprint(writer, "run ", n)
	})
	bodies := map[string]int{}
	for _, a := range got {
		bodies[a.body]++
	}
	require.Equal(w, map[string]int{"run 1": 1, "run 2": 1, "run 3": len(got) - 2}, bodies)
	require.EqualValues(w, 3, runs.Load())
	w.hasEffects(1)
}

func aClientThatGoesAwayFindsItsAnswerLater(w *world) {
	w.needs(Disconnects)
	inside, noticed, over := make(chan struct{}), make(chan struct{}), make(chan struct{})
	answers := w.answers(http.StatusCreated)
	route := w.route(func(writer http.ResponseWriter, r *http.Request) {
		close(inside)
		<-noticed
		assert.NoError(w, r.Context().Err(), "the work ended with the client")
		answers(writer, r)
	})
	var calls atomic.Int64
	server := w.serve(http.HandlerFunc(func(writer http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 1 {
			go func() {
				<-r.Context().Done()
				close(noticed)
			}()
			defer close(over)
		}
		route.ServeHTTP(writer, r)
	}))
	ctx, leave := context.WithCancel(w.Context())
	gone := make(chan error, 1)
	go func() {
		response, err := server.Client().Do(server.request("k", nil).WithContext(ctx))
		if err == nil {
			_ = response.Body.Close()
		}
		gone <- err
	}()
	within(w, inside)
	leave()
	require.ErrorIs(w, within(w, gone), context.Canceled)
	within(w, over)

	w.hasEffects(1)
	got := server.post("k", "")
	require.Equal(w, "true", got.header.Get("Idempotent-Replayed"))
	require.Equal(w, "payment 1\x00\xff", got.body)
	route.ran(1)
}
