package httpcontract

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

var responseTests = []test{
	{"a header is replayed however its name was spelled", aHeaderIsReplayedHoweverItWasSpelled},
	{"a content type that was switched off or set outside is the same in a replay", theContentTypeIsTheSameInAReplay},
	{"a replay repeats what is on the list and nothing else", aReplayRepeatsWhatIsOnTheList},
	{"what must not be replayed cannot be put on the list", whatMustNotBeReplayedCannotBeListed},
	{"what an outer middleware sets is not stored", whatAnOuterMiddlewareSetsIsNotStored},
	{"a failed attempt leaves no header behind", aFailedAttemptLeavesNoHeaderBehind},
	{"a handler may say little", aHandlerMaySayLittle},
	{"only a replay is marked as one", onlyAReplayIsMarkedAsOne},
	{"a handler's trailers are not announced, for they are not sent", aHandlersTrailersAreNotAnnounced},
	{"early hints are dropped", earlyHintsAreDropped},
	{"a status that is none panics as it does without", aStatusThatIsNonePanics},
	{"a status without a body has none", aStatusWithoutABodyHasNone},
	{"a response may be as large as the limit and no larger", aResponseMayBeAsLargeAsTheLimit},
	{"no policy keeps a response that is too large", noPolicyKeepsAResponseThatIsTooLarge},
	{"the user's own function answers problems", theUsersOwnFunctionAnswersProblems},
	{"the user's own routes can answer with problems", theUsersOwnRoutesCanAnswerWithProblems},
}

func aReplayRepeatsWhatIsOnTheList(w *world) {
	kept := http.Header{
		"Content-Disposition": {"inline"}, "Content-Encoding": {"identity"}, "Content-Language": {"en", "fr"},
		"Content-Type": {"text/plain"}, "Etag": {`"v1"`}, "Link": {"</a>", "</b>"}, "Location": {"/payments/1"},
		"X-Payment-Id": {"p1"},
	}
	once := http.Header{
		"Set-Cookie": {"session=secret"}, "Www-Authenticate": {"Basic"}, "Authorization": {"Bearer secret"},
		"Proxy-Authenticate": {"Basic"}, "Keep-Alive": {"timeout=5"}, "X-Request-Id": {"r1"}, "Cache-Control": {"no-store"},
		"Retry-After": {"5"},
	}
	route := w.route(func(writer http.ResponseWriter, _ *http.Request) {
		for _, headers := range []http.Header{kept, once} {
			for name, values := range headers {
				writer.Header()[name] = values
			}
		}
		writer.Header().Set("Date", "Thu, 01 Jan 1970 00:00:00 GMT")
		_, _ = io.WriteString(writer, "paid")
	}, func(_ *idempotency.Config, c *Config) { c.ReplayHeaders = []string{"x-payment-id", "etag"} })
	server := w.serve(route)

	first := server.post("k", "{}")
	first.is(http.StatusOK, "paid")
	second := server.post("k", "{}")
	second.replays(first)
	for name, values := range kept {
		assert.Equal(w, values, first.header[name], name)
		assert.Equal(w, values, second.header[name], name)
	}
	for name, values := range once {
		assert.Equal(w, values, first.header[name], name)
		assert.Empty(w, second.header[name], name)
	}
	assert.Len(w, second.header["Date"], 1)
	if w.can(Dates) {
		assert.NotEqual(w, first.header["Date"], second.header["Date"])
	}
	route.ran(1)
}

func whatMustNotBeReplayedCannotBeListed(w *world) {
	for _, name := range []string{
		"Set-Cookie", "set-cookie", "Set-Cookie2", "Date", "Authorization", "WWW-Authenticate", "Proxy-Authenticate",
		"Proxy-Authorization", "Connection", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "Content-Length",
		"", "no name", "line\r\nbreak", "colon:",
	} {
		_, err := w.mount(w.pays(http.StatusCreated), func(_ *idempotency.Config, c *Config) { c.ReplayHeaders = []string{name} })
		require.ErrorContains(w, err, "ReplayHeaders", "%q", name)
	}
	for _, set := range []option{
		func(_ *idempotency.Config, c *Config) { c.Headers = []string{"no name"} },
		func(_ *idempotency.Config, c *Config) { c.FingerprintHeaders = []string{""} },
	} {
		_, err := w.mount(w.pays(http.StatusCreated), set)
		require.Error(w, err)
	}
	_, err := w.adapter.Mount(nil, Config{Scope: alice}, w.pays(http.StatusCreated))
	require.ErrorContains(w, err, "engine")
}

func whatAnOuterMiddlewareSetsIsNotStored(w *world) {
	route := w.route(func(writer http.ResponseWriter, _ *http.Request) {
		assert.NotEmpty(w, writer.Header().Get("X-Trace"), "the handler does not see what is set")
		writer.Header().Del("X-Removed")
		writer.Header().Set("Location", "/payments/1")
		writer.WriteHeader(http.StatusCreated)
	}, func(_ *idempotency.Config, c *Config) { c.ReplayHeaders = []string{"X-Trace", "X-Removed"} })
	var calls atomic.Int64
	outer := http.HandlerFunc(func(writer http.ResponseWriter, r *http.Request) {
		call := fmt.Sprint(calls.Add(1))
		writer.Header().Set("X-Trace", call)
		writer.Header().Set("X-Removed", call)
		writer.Header().Set("Content-Language", call)
		writer.Header().Set("Location", "/overwritten")
		route.ServeHTTP(writer, r)
	})
	first := serve(w, outer, post("k", "{}"))
	second := serve(w, outer, post("k", "{}"))
	other := serve(w, outer, post("k", "other"))
	require.Equal(w, http.Header{"X-Trace": {"1"}, "Content-Language": {"1"}, "Location": {"/payments/1"}}, first.header)
	require.Equal(w, http.Header{"X-Trace": {"2"}, "X-Removed": {"2"}, "Content-Language": {"2"}, "Location": {"/payments/1"},
		"Idempotent-Replayed": {"true"}}, second.header)
	other.problem(idempotency.CodeKeyReused)
	require.Equal(w, "3", other.header.Get("X-Trace"))
	route.ran(1)
}

func aFailedAttemptLeavesNoHeaderBehind(w *world) {
	route := w.route(func(writer http.ResponseWriter, _ *http.Request) {
		writer.Header().Set("X-Trace", "handler")
		writer.Header().Set("Set-Cookie", "session=secret")
		writer.Header().Set("Content-Length", "99")
		_, _ = writer.Write(make([]byte, 11))
	}, func(e *idempotency.Config, _ *Config) { e.MaxResponseBytes = 10 })
	got := serve(w, http.HandlerFunc(func(writer http.ResponseWriter, r *http.Request) {
		writer.Header().Set("X-Trace", "outer")
		route.ServeHTTP(writer, r)
	}), post("k", "{}"))
	got.problem(idempotency.CodeResponseTooLarge)
	require.Equal(w, http.Header{"X-Trace": {"outer"}, "Content-Type": {"application/problem+json"}}, got.header)
}

func aHandlerMaySayLittle(w *world) {
	status, location := http.StatusCreated, "" // of two statuses
	if w.adapter.Deferred {
		status, location = http.StatusTeapot, "/too/late"
	}
	for name, tt := range map[string]struct {
		handler  http.HandlerFunc
		status   int
		body     string
		location string
	}{
		"nothing": {func(http.ResponseWriter, *http.Request) {}, http.StatusOK, "", ""},
		"a body":  {func(writer http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(writer, "paid") }, http.StatusOK, "paid", ""},
		"a status": {func(writer http.ResponseWriter, _ *http.Request) { writer.WriteHeader(http.StatusAccepted) },
			http.StatusAccepted, "", ""},
		"a status after a body": {func(writer http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(writer, "paid")
			writer.WriteHeader(http.StatusTeapot)
		}, http.StatusOK, "paid", ""},
		"two statuses, and headers too late": {func(writer http.ResponseWriter, _ *http.Request) {
			writer.WriteHeader(http.StatusCreated)
			writer.Header().Set("Location", "/too/late")
			writer.WriteHeader(http.StatusTeapot)
		}, status, "", location},
	} {
		w.each(name, func(w *world) {
			route := w.route(tt.handler)
			server := w.serve(route)
			key := w.key()
			first := server.post(key, "{}")
			first.is(tt.status, tt.body)
			require.Equal(w, tt.location, first.header.Get("Location"))
			server.post(key, "{}").replays(first)
			route.ran(1)
		})
	}
}

// A handler that passes on what a payment provider answered passes on the provider's mark too.
func onlyAReplayIsMarkedAsOne(w *world) {
	route := w.route(func(writer http.ResponseWriter, _ *http.Request) {
		writer.Header().Set("Idempotent-Replayed", "true")
		_, _ = io.WriteString(writer, "paid")
	})
	first := route.post("k", "{}")
	first.is(http.StatusOK, "paid")
	route.post("k", "{}").replays(first)
}

func aHandlersTrailersAreNotAnnounced(w *world) {
	route := w.route(func(writer http.ResponseWriter, _ *http.Request) {
		writer.Header().Set("Trailer", "Checksum")
		_, _ = io.WriteString(writer, "paid")
		writer.Header().Set("Checksum", "1")
	})
	server := w.serve(route)
	first := server.post("k", "{}")
	first.is(http.StatusOK, "paid")
	second := server.post("k", "{}")
	second.replays(first)
	for _, got := range []answer{first, second} {
		require.Equal(w, "4", got.header.Get("Content-Length"), "with trailers there is none")
	}

	if !w.can(Trailers) {
		return
	}
	// Those of an outer middleware are its own affair.
	outer := w.serve(http.HandlerFunc(func(writer http.ResponseWriter, r *http.Request) {
		writer.Header().Set("Trailer", "Server-Timing")
		route.ServeHTTP(writer, r)
		writer.Header().Set("Server-Timing", "total;dur=1")
	}))
	for _, key := range []string{"k", "another-key"} {
		response, err := outer.Client().Do(outer.request(key, strings.NewReader("{}")))
		require.NoError(w, err)
		require.Equal(w, "paid", read(w, response).body)
		require.Equal(w, http.Header{"Server-Timing": {"total;dur=1"}}, response.Trailer)
	}
}

func earlyHintsAreDropped(w *world) {
	route := w.route(func(writer http.ResponseWriter, _ *http.Request) {
		writer.WriteHeader(http.StatusEarlyHints)
		writer.WriteHeader(http.StatusProcessing)
		writer.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(writer, "paid")
	})
	want := http.StatusCreated
	if w.adapter.OneStatus {
		want = http.StatusOK
	}
	server := w.serve(route)
	conn := server.dial()
	conn.write([]string{"POST /payments HTTP/1.1", "Host: test", "Idempotency-Key: k", "Content-Type: application/json",
		"Content-Length: 2"}, "{}")
	first := conn.answer() // the first response on the wire, an informational one if there is any
	first.is(want, "paid")
	server.post("k", "{}").replays(first)
	route.ran(1)
}

func aStatusThatIsNonePanics(w *world) {
	for _, status := range []int{-1, 0, 99, 1000} {
		if w.adapter.Deferred && status <= 0 {
			continue
		}
		route := w.route(func(writer http.ResponseWriter, _ *http.Request) { writer.WriteHeader(status) })
		require.Panics(w, func() { route.post("k", "{}") }, status)
	}
	w.hasRecords(0)
}

func aStatusWithoutABodyHasNone(w *world) {
	for _, status := range []int{http.StatusNoContent, http.StatusNotModified} {
		w.each(fmt.Sprint(status), func(w *world) {
			route := w.route(func(writer http.ResponseWriter, _ *http.Request) {
				writer.WriteHeader(status)
				n, err := io.WriteString(writer, "paid")
				assert.Zero(w, n)
				assert.ErrorIs(w, err, http.ErrBodyNotAllowed)
			})
			server := w.serve(route)
			key := w.key()
			first := server.post(key, "{}")
			first.is(status, "")
			server.post(key, "{}").replays(first)
			route.ran(1)
		})
	}
}

func aResponseMayBeAsLargeAsTheLimit(w *world) {
	effects := 0
	for _, tt := range []struct {
		name     string
		limit    int
		optional bool
	}{{"by default", 1 << 20, false}, {"as configured", 10, false}, {"without a key", 10, true}} {
		for _, pieces := range []int{1, 10} {
			w.each(fmt.Sprint(tt.name, " in ", pieces), func(w *world) {
				var size atomic.Int64
				full := w.can(FullWriters)
				route := w.route(func(writer http.ResponseWriter, r *http.Request) {
					w.effect(r.Context())
					body := strings.Repeat("x", int(size.Load()))
					for len(body) > 0 {
						n := min(len(body), tt.limit/pieces+1)
						_, err := io.WriteString(writer, body[:n])
						body = body[n:]
						assert.True(w, err == nil || len(body) == 0, "too early")
					}
					if full && int(size.Load()) > tt.limit {
						_, err := writer.Write(nil)
						assert.ErrorIs(w, err, idempotency.ErrResponseTooLarge, "once too large, it stays so")
					}
				}, func(e *idempotency.Config, c *Config) {
					c.Optional = true
					if tt.limit == 10 {
						e.MaxResponseBytes = tt.limit
					}
				})
				key := ""
				if !tt.optional {
					key = w.key()
				}
				size.Store(int64(tt.limit) + 1)
				for range 2 {
					route.post(key, "{}").problem(idempotency.CodeResponseTooLarge)
				}
				w.hasEffects(effects)
				size.Store(int64(tt.limit))
				route.post(key, "{}").is(http.StatusOK, strings.Repeat("x", tt.limit))
				effects++
				w.hasEffects(effects)
				route.ran(3)
			})
		}
	}
}

func noPolicyKeepsAResponseThatIsTooLarge(w *world) {
	for _, outcome := range []idempotency.Outcome{idempotency.Complete, idempotency.Refuse} {
		route := w.route(func(writer http.ResponseWriter, r *http.Request) {
			w.effect(r.Context())
			_, _ = writer.Write(make([]byte, 11))
		}, func(e *idempotency.Config, _ *Config) {
			e.MaxResponseBytes = 10
			e.Policy = func(idempotency.Response, error) idempotency.Outcome { return outcome }
		})
		for range 2 {
			route.post("k", "{}").problem(idempotency.CodeResponseTooLarge)
		}
		route.ran(2)
		w.hasEffects(0)
		w.hasRecords(0)
	}
}

func theUsersOwnFunctionAnswersProblems(w *world) {
	route := w.route(w.pays(http.StatusCreated), func(_ *idempotency.Config, c *Config) {
		c.OnError = func(writer http.ResponseWriter, r *http.Request, err *idempotency.Error) {
			writer.WriteHeader(http.StatusTeapot)
			_, _ = fmt.Fprint(writer, r.Method, " ", err.Code)
		}
	})
	route.post("", "{}").is(http.StatusTeapot, "POST key-missing")
	route.post("a,b", "{}").is(http.StatusTeapot, "POST key-invalid")
	first := route.post("k", "{}")
	first.is(http.StatusCreated, `{"status":"answered"}`)
	route.post("k", "other").is(http.StatusTeapot, "POST key-reused")
	route.post("k", "{}").replays(first)
	route.ran(1)
}

func theUsersOwnRoutesCanAnswerWithProblems(w *world) {
	for code, err := range map[idempotency.Code]error{
		idempotency.CodeInProgress:       idempotency.ErrInProgress,
		idempotency.CodeStoreUnavailable: fmt.Errorf("wrapped: %w", idempotency.ErrStoreUnavailable.Because(errors.New("secret reason"))),
		idempotency.CodeKeyReused:        &idempotency.Error{Code: idempotency.CodeKeyReused},
		idempotency.CodeInternal:         errors.New("secret reason"),
	} {
		got := serve(w, http.HandlerFunc(func(writer http.ResponseWriter, _ *http.Request) {
			writer.Header().Set("Content-Length", "99")
			w.adapter.WriteProblem(writer, err)
		}), post("k", "{}"))
		got.problem(code)
		require.Empty(w, got.header.Get("Content-Length"))
		require.NotContains(w, got.body, "secret reason")
	}
}

func aHeaderIsReplayedHoweverItWasSpelled(w *world) {
	route := w.route(func(writer http.ResponseWriter, _ *http.Request) {
		writer.Header()["ETag"] = []string{`"v1"`}
		writer.WriteHeader(http.StatusCreated)
	})
	for range 2 {
		require.Equal(w, `"v1"`, route.post("k", "{}").header.Get("ETag"))
	}
}

func theContentTypeIsTheSameInAReplay(w *world) {
	outer := ""
	inner := w.route(func(writer http.ResponseWriter, _ *http.Request) {
		if outer == "" {
			writer.Header()["Content-Type"] = nil
		} else {
			writer.Header().Set("Content-Type", "text/plain")
		}
		writer.WriteHeader(http.StatusCreated)
		_, _ = writer.Write([]byte("<html>"))
	})
	server := w.serve(http.HandlerFunc(func(writer http.ResponseWriter, r *http.Request) {
		if outer != "" {
			writer.Header().Set("Content-Type", outer)
		}
		inner.ServeHTTP(writer, r)
	}))
	for _, set := range []struct{ first, again string }{{"", ""}, {"text/plain", "application/json"}} {
		key := w.key()
		outer = set.first
		first := server.post(key, "{}")
		outer = set.again
		again := server.post(key, "{}")
		require.Equal(w, "true", again.header.Get("Idempotent-Replayed"))
		require.Equal(w, first.header.Get("Content-Type"), again.header.Get("Content-Type"))
	}
}
