package httpcontract

import (
	"fmt"
	"net/http"
	"runtime"
	"sync/atomic"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

var outcomeTests = []test{
	{"a success is kept with its effect", aSuccessIsKeptWithItsEffect},
	{"a refusal is kept without its effect", aRefusalIsKeptWithoutItsEffect},
	{"a failure is not kept and runs again", aFailureIsNotKeptAndRunsAgain},
	{"a panic goes on and frees the key", aPanicGoesOnAndFreesTheKey},
	{"a goroutine that ends frees the key", aGoroutineThatEndsFreesTheKey},
	{"a request without a key has a transaction and no memory", aRequestWithoutAKeyHasATransaction},
}

// answers has one effect and answers with status and what belongs to it.
func (w *world) answers(status int) http.HandlerFunc {
	var answered atomic.Int64
	return func(writer http.ResponseWriter, r *http.Request) {
		w.effect(r.Context())
		header := writer.Header()
		header.Set("Content-Type", "application/vnd.payment+json")
		header.Set("Location", fmt.Sprint("/payments/", answered.Add(1)))
		header.Set("ETag", `"v1"`)
		header.Add("Link", "</a>; rel=next")
		header.Add("Link", "</b>; rel=prev")
		writer.WriteHeader(status)
		_, _ = fmt.Fprintf(writer, "payment %d\x00\xff", answered.Load()) // refused where a status has no body
	}
}

func aSuccessIsKeptWithItsEffect(w *world) {
	for i, status := range []int{200, 201, 202, 204, 302, 303} {
		w.each(fmt.Sprint(status), func(w *world) {
			route := w.route(w.answers(status))
			body := "payment 1\x00\xff"
			if status == http.StatusNoContent {
				body = ""
			}
			key := w.key()
			first := route.post(key, "{}")
			first.is(status, body)
			require.Equal(w, "/payments/1", first.header.Get("Location"))
			require.Len(w, first.header.Values("Link"), 2)
			for range 3 {
				route.post(key, "{}").replays(first)
			}
			route.ran(1)
			w.hasEffects(i + 1)
			w.hasRecords(i + 1)
			w.serve(route).post(key, "{}").replays(first)
			route.ran(0)
		})
	}
}

func aRefusalIsKeptWithoutItsEffect(w *world) {
	for i, status := range []int{400, 402, 403, 404, 410, 422} {
		w.each(fmt.Sprint(status), func(w *world) {
			route := w.route(w.answers(status))
			key := w.key()
			first := route.post(key, "{}")
			first.is(status, "payment 1\x00\xff")
			for range 3 {
				route.post(key, "{}").replays(first)
			}
			route.ran(1)
			w.hasEffects(0)
			w.hasRecords(i + 1)
		})
	}
}

func aFailureIsNotKeptAndRunsAgain(w *world) {
	for i, status := range []int{408, 409, 425, 429, 500, 502, 503} {
		w.each(fmt.Sprint(status), func(w *world) {
			var failed atomic.Bool
			fails, pays := w.answers(status), w.pays(http.StatusCreated)
			route := w.route(func(writer http.ResponseWriter, r *http.Request) {
				if failed.CompareAndSwap(false, true) {
					writer.Header().Set("Retry-After", "7")
					fails(writer, r)
					return
				}
				pays(writer, r)
			})
			key := w.key()
			first := route.post(key, "{}")
			first.is(status, "payment 1\x00\xff")
			require.Equal(w, "7", first.header.Get("Retry-After"))
			w.hasEffects(i)
			w.hasRecords(i)

			second := route.post(key, "{}")
			second.is(http.StatusCreated, `{"status":"answered"}`)
			route.post(key, "{}").replays(second)
			route.ran(2)
			w.hasEffects(i + 1)
			w.hasRecords(i + 1)
		})
	}
}

func aPanicGoesOnAndFreesTheKey(w *world) {
	for name, value := range map[string]any{"a text": "broken", "an abort": http.ErrAbortHandler} {
		w.each(name, func(w *world) {
			var panicked atomic.Bool
			pays := w.pays(http.StatusCreated)
			route := w.route(func(writer http.ResponseWriter, r *http.Request) {
				pays(writer, r)
				if panicked.CompareAndSwap(false, true) {
					panic(value)
				}
			})
			key := w.key()
			var before int
			if w.pool != nil {
				require.NoError(w, w.pool.QueryRow(w.Context(), "SELECT count(*) FROM effects").Scan(&before))
			}
			require.PanicsWithValue(w, value, func() { route.post(key, "{}") })
			w.hasEffects(before)
			first := route.post(key, "{}")
			first.is(http.StatusCreated, `{"status":"answered"}`)
			route.post(key, "{}").replays(first)
			route.ran(2)
			w.hasEffects(before + 1)
		})
	}
}

func aGoroutineThatEndsFreesTheKey(w *world) {
	var ended atomic.Bool
	pays := w.pays(http.StatusCreated)
	route := w.route(func(writer http.ResponseWriter, r *http.Request) {
		pays(writer, r)
		if ended.CompareAndSwap(false, true) {
			runtime.Goexit()
		}
	})
	over := make(chan struct{})
	go func() {
		defer close(over)
		route.post("k", "{}")
	}()
	within(w, over)
	w.hasEffects(0)
	first := route.post("k", "{}")
	first.is(http.StatusCreated, `{"status":"answered"}`)
	route.post("k", "{}").replays(first)
	route.ran(2)
	w.hasEffects(1)
}

func aRequestWithoutAKeyHasATransaction(w *world) {
	optional := func(_ *idempotency.Config, c *Config) { c.Optional = true }
	effects := 0
	for _, tt := range []struct{ status, kept int }{{201, 1}, {302, 1}, {402, 0}, {409, 0}, {500, 0}} {
		w.each(fmt.Sprint(tt.status), func(w *world) {
			route := w.route(w.answers(tt.status), optional)
			for i := range 2 {
				route.post("", "{}").is(tt.status, fmt.Sprintf("payment %d\x00\xff", i+1))
				effects += tt.kept
				w.hasEffects(effects)
			}
			route.ran(2)
			w.hasRecords(0)
		})
	}
	route := w.route(w.pays(http.StatusCreated), optional)
	route.post("a,b", "{}").problem(idempotency.CodeKeyInvalid)
	require.Panics(w, func() {
		w.route(func(_ http.ResponseWriter, r *http.Request) {
			w.effect(r.Context())
			panic("broken")
		}, optional).post("", "{}")
	})
	w.hasEffects(effects)
	first := route.post("k", "{}")
	first.is(http.StatusCreated, `{"status":"answered"}`)
	route.post("k", "{}").replays(first)
	route.ran(1)
	w.hasRecords(1)
}
