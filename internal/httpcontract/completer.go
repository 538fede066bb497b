package httpcontract

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

var completerTests = []test{
	{"the completer finishes what nobody retries", theCompleterFinishesWhatNobodyRetries},
	{"the completer's request is the client's", theCompletersRequestIsTheClients},
	{"neither credentials nor the key are stored with the request", neitherCredentialsNorTheKeyAreStored},
	{"authentication is rebuilt for the completer", authenticationIsRebuilt},
	{"authentication can let the completer in", authenticationCanLetTheCompleterIn},
	{"whose a key is was settled when it first came", whoseAKeyIsWasSettled},
	{"limits hold for the completer", limitsHoldForTheCompleter},
	{"a panic of the completer's attempt is counted", aPanicOfTheCompletersAttemptIsCounted},
	{"the completer stands back from an attempt at work", theCompleterStandsBack},
	{"a protected handler inside the completer's request is refused", aProtectedHandlerInsideTheCompletersRequest},
}

// completer finds due what it has tried before, at once.
func (w *world) completer(resume idempotency.Resume) *idempotency.Completer {
	w.Helper()
	engine, err := idempotency.New(w.store, w.engineConfig())
	require.NoError(w, err)
	completer, err := idempotency.NewCompleter(engine, resume, idempotency.CompleterConfig{Backoff: time.Nanosecond, MaxBackoff: time.Nanosecond})
	require.NoError(w, err)
	return completer
}

// completes makes one pass of a completer over one pending key, and reports whether it has its response now.
func (w *world) completes(handler http.Handler, config ResumeConfig) bool {
	w.Helper()
	pass, err := w.completer(w.adapter.Resume(handler, config)).Pass(w.Context())
	require.NoError(w, err)
	require.Equal(w, 1, pass.Found, "pending keys")
	return pass.Completed == 1
}

// pending returns the one key that is pending.
func (w *world) pending() idempotency.Pending {
	w.Helper()
	found, err := w.store.(idempotency.Recoverer).Pending(w.Context(), idempotency.Due{
		Limit: 10, MaxCompletions: 100, Backoff: time.Nanosecond, MaxBackoff: time.Nanosecond,
	})
	require.NoError(w, err)
	require.Len(w, found.Keys, 1)
	return found.Keys[0]
}

// gaveUp checks how often the completer has tried the pending key in vain, and why the last time.
func (w *world) gaveUp(times int, why string) {
	w.Helper()
	pending := w.pending()
	require.Equal(w, times, pending.Completions, "the completer's attempts")
	if w.sealed() && pending.LastError == string(idempotency.CodeInternal) {
		return // others' words are not kept
	}
	require.Contains(w, pending.LastError, why)
}

func theCompleterFinishesWhatNobodyRetries(w *world) {
	w.recovers()
	ride := w.ride().failing(errProvider)
	route := w.route(ride.ServeHTTP)
	server := w.serve(route)
	server.post("k", `{"amount":1}`).is(http.StatusServiceUnavailable, "try again\n")
	require.False(w, w.completes(route, ResumeConfig{}))
	w.gaveUp(1, "the handler answered 503")
	ride.failing(nil)
	require.True(w, w.completes(route, ResumeConfig{}))
	key := ride.did(1, 3)
	w.hasEffects(2)

	late := server.post("k", `{"amount":1}`)
	require.Equal(w, http.StatusCreated, late.status)
	require.Equal(w, "true", late.header.Get("Idempotent-Replayed"))
	require.Equal(w, ride.answer(key), late.body)
	require.Equal(w, "/rides/1", late.header.Get("Location"))
	server.post("k", `{"amount":1}`).replays(late)
	server.post("k", `{"amount":2}`).problem(idempotency.CodeKeyReused)
	ride.did(1, 3)
	w.hasRecords(1)
}

// seen is a request as a handler sees it.
type seen struct {
	Method, URI, Path, EscapedPath, Query, Host, Body string
	Length                                            int64
	Header                                            http.Header
}

// sees has handler see what it has seen of each request.
func (w *world) sees(handler http.HandlerFunc) (http.HandlerFunc, func() []seen) {
	var mu sync.Mutex
	var all []seen
	return func(writer http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			assert.NoError(w, err)
			mu.Lock()
			all = append(all, seen{
				r.Method, r.RequestURI, r.URL.Path, r.URL.EscapedPath(), r.URL.RawQuery, r.Host, string(body), r.ContentLength, r.Header.Clone(),
			})
			mu.Unlock()
			handler(writer, r)
		}, func() []seen {
			mu.Lock()
			defer mu.Unlock()
			return all
		}
}

func theCompletersRequestIsTheClients(w *world) {
	w.recovers()
	for _, tt := range []struct{ name, method, target, body string }{
		{"a document", "POST", "/payments", `{"amount":1}`},
		{"any bytes", "PATCH", "/payments/7", "\x00\xff\r\n\r\n" + strings.Repeat("\x80", 100<<10)},
		{"no body", "POST", "/payments/7/cancel", ""},
		{"an escaped path", "POST", "/caf%C3%A9/a%2Fb/%41;v=1/c+d", "x"},
		{"a query", "POST", "/payments?b=2&a=%20&b=1&&c;d", "x"},
		{"an empty query", "POST", "/payments?", "x"},
		{"a path like a host", "POST", "//other.example/payments", "x"},
	} {
		for _, place := range []string{"", "/v1"} {
			w.each(tt.name+" at "+place+"/", func(w *world) {
				ride := w.ride().failing(errProvider)
				handler, requests := w.sees(ride.ServeHTTP)
				var outer http.Handler = w.route(handler, func(_ *idempotency.Config, c *Config) {
					c.KeepHeaders = []string{"x-channel"}
					c.FingerprintHeaders = []string{"Api-Version", "host"}
				})
				if place != "" {
					outer = http.StripPrefix(place, outer)
				}
				server, key := w.serve(outer), w.key()
				sent := func() *http.Request {
					request, err := http.NewRequestWithContext(w.Context(), tt.method, server.URL+place+tt.target, strings.NewReader(tt.body))
					require.NoError(w, err)
					request.Host = "shop.example:8080"
					request.Header = http.Header{
						"Content-Type": {"text/plain; charset=utf-8"}, "Accept": {"text/plain", "*/*;q=0.1"}, "Accept-Language": {"fr, en"},
						"Api-Version": {"7"}, "X-Channel": {"", "till 3", "caf\xe9"}, "X-Other": {"not stored"}, "Idempotency-Key": {key},
					}
					return request
				}
				server.send(sent()).is(http.StatusServiceUnavailable, "try again\n")
				ride.failing(nil)
				require.True(w, w.completes(outer, ResumeConfig{}))
				all := requests()
				require.Len(w, all, 2)
				first, second := all[0], all[1]
				require.Equal(w, place+tt.target, first.URI)
				require.Equal(w, tt.body, first.Body)
				require.Equal(w, http.Header{
					"Content-Type": {"text/plain; charset=utf-8"}, "Accept": {"text/plain", "*/*;q=0.1"}, "Accept-Language": {"fr, en"},
					"Api-Version": {"7"}, "X-Channel": {"", "till 3", "caf\xe9"},
				}, second.Header)
				first.Header, second.Header = nil, nil
				require.Equal(w, first, second)

				late := server.send(sent())
				require.Equal(w, http.StatusCreated, late.status)
				require.Equal(w, ride.answer(ride.did(1, 2)), late.body)
			})
		}
	}
}

func neitherCredentialsNorTheKeyAreStored(w *world) {
	w.recovers()
	ride := w.ride().failing(errProvider)
	server := w.serve(w.route(ride.ServeHTTP, bothHeaders, func(_ *idempotency.Config, c *Config) {
		c.FingerprintHeaders = []string{"authorization", "cookie", "proxy-authorization", "x-idempotency-key"}
	}))
	request := server.request("", strings.NewReader(`{"amount":1}`))
	request.Header = http.Header{
		"Authorization": {"Bearer secret-a"}, "Cookie": {"session=secret-b"}, "Proxy-Authorization": {"Basic secret-c"},
		"X-Idempotency-Key": {"secret-k"}, "X-Api-Key": {"secret-d"}, "Accept": {"text/plain"},
	}
	server.send(request).is(http.StatusServiceUnavailable, "try again\n")
	pending := w.pending()
	require.Equal(w, idempotency.Key{Scope: "alice", Value: "secret-k"}, pending.Key)
	require.Equal(w, !w.sealed(), strings.Contains(string(pending.Request), `{"amount":1}`))
	require.Equal(w, !w.sealed(), strings.Contains(string(pending.Request), "text/plain"))
	require.NotContains(w, string(pending.Request), "secret")
	require.NotContains(w, pending.LastError, "secret")
}

type accountKey struct{}

// authenticated lets those pass whose token, or whose context, says who they are, and the completer where it may come in by itself.
func authenticated(next http.Handler, completerPasses bool) http.Handler {
	return http.HandlerFunc(func(writer http.ResponseWriter, r *http.Request) {
		account, ok := r.Context().Value(accountKey{}).(string)
		if !ok {
			account, ok = strings.CutPrefix(r.Header.Get("Authorization"), "Bearer token of ")
		}
		if pending, resuming := idempotency.Resuming(r.Context()); !ok && resuming && completerPasses {
			account, ok = pending.Key.Scope, true
		}
		if !ok {
			http.Error(writer, "who are you?", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(writer, r.WithContext(context.WithValue(r.Context(), accountKey{}, account)))
	})
}

// paidBy mounts a ride that answers whose it is, for authenticated callers. Its keys are optional.
func (w *world) paidBy(ride *ride, scopes *atomic.Int64) *route {
	w.Helper()
	return w.route(func(writer http.ResponseWriter, r *http.Request) {
		writer.Header().Set("Etag", fmt.Sprintf("%q", r.Context().Value(accountKey{})))
		ride.ServeHTTP(writer, r)
	}, func(_ *idempotency.Config, c *Config) {
		c.Optional = true
		c.Scope = func(r *http.Request) (string, error) {
			scopes.Add(1)
			return r.Context().Value(accountKey{}).(string), nil
		}
	})
}

func authenticationIsRebuilt(w *world) {
	w.recovers()
	var scopes atomic.Int64
	ride := w.ride().failing(errProvider)
	route := w.paidBy(ride, &scopes)
	handler := authenticated(route, false)
	server := w.serve(handler)
	request := func() *http.Request {
		request := server.request("k", strings.NewReader("{}"))
		request.Header.Set("Authorization", "Bearer token of bob")
		return request
	}
	server.send(request()).is(http.StatusServiceUnavailable, "try again\n")
	ride.failing(nil)
	route.ran(1)

	for i, tt := range []struct {
		hook func(r *http.Request, scope string) (*http.Request, error)
		why  string
	}{
		{nil, "the handler answered 401"},
		{func(*http.Request, string) (*http.Request, error) { return nil, errors.New("bob was closed") }, "bob was closed"},
		{func(*http.Request, string) (*http.Request, error) { return nil, nil }, "the completer's context"},
		{func(r *http.Request, scope string) (*http.Request, error) {
			return r.WithContext(context.WithValue(context.Background(), accountKey{}, scope)), nil
		}, "the completer's context"},
	} {
		require.False(w, w.completes(handler, ResumeConfig{Authenticate: tt.hook}))
		w.gaveUp(i+1, tt.why)
	}
	route.ran(0)
	w.hasEffects(1)

	require.True(w, w.completes(handler, ResumeConfig{Authenticate: func(r *http.Request, scope string) (*http.Request, error) {
		assert.Equal(w, "/payments", r.URL.Path)
		return r.WithContext(context.WithValue(r.Context(), accountKey{}, scope)), nil
	}}))
	require.EqualValues(w, 1, scopes.Load(), "calls of Config.Scope")
	late := server.send(request())
	require.Equal(w, ride.answer(ride.did(1, 2)), late.body)
	require.Equal(w, `"bob"`, late.header.Get("Etag"))
	w.hasEffects(2)
	w.hasRecords(1)
}

func authenticationCanLetTheCompleterIn(w *world) {
	w.recovers()
	var scopes atomic.Int64
	ride := w.ride().failing(errProvider)
	handler := authenticated(w.paidBy(ride, &scopes), true)
	server := w.serve(handler)
	request := server.request("k", strings.NewReader("{}"))
	request.Header.Set("Authorization", "Bearer token of bob")
	server.send(request).is(http.StatusServiceUnavailable, "try again\n")
	server.post("k", "{}").is(http.StatusUnauthorized, "who are you?\n")
	ride.failing(nil)
	require.True(w, w.completes(handler, ResumeConfig{}))
	require.EqualValues(w, 1, scopes.Load(), "calls of Config.Scope")
	ride.did(1, 2)
}

// The code that finds key and scope, and the recipe of the fingerprint, may have changed by the time the completer comes.
func whoseAKeyIsWasSettled(w *world) {
	w.recovers()
	ride := w.ride().failing(errProvider)
	began := w.route(ride.ServeHTTP, func(_ *idempotency.Config, c *Config) {
		c.Key = func(r *http.Request, _ []byte) (string, error) { return r.Header.Get("X-Delivery"), nil }
		c.FingerprintHeaders = []string{"X-Dropped"}
	})
	request := func() *http.Request {
		request := post("", "{}")
		request.Header.Set("X-Delivery", "d1")
		return request
	}
	began.send(request()).is(http.StatusServiceUnavailable, "try again\n")
	ride.failing(nil)
	asked := func(what string) error {
		w.Errorf("%s was asked", what)
		return errors.New("asked")
	}
	now := w.route(ride.ServeHTTP, fingerprintedBy(w, idempotency.FingerprintConfig{Secrets: [][]byte{[]byte(strings.Repeat("n", 16))}}),
		func(_ *idempotency.Config, c *Config) {
			c.Scope = func(*http.Request) (string, error) { return "", asked("Scope") }
			c.Key = func(*http.Request, []byte) (string, error) { return "", asked("Key") }
			c.Validate = func(string) error { return asked("Validate") }
		})
	require.True(w, w.completes(now, ResumeConfig{}))
	late := began.send(request())
	require.Equal(w, "true", late.header.Get("Idempotent-Replayed"))
	require.Equal(w, ride.answer(ride.did(1, 2)), late.body)
	w.hasRecords(1)
}

func limitsHoldForTheCompleter(w *world) {
	w.recovers()
	ride := w.ride().failing(errProvider)
	w.route(ride.ServeHTTP).post("k", "12345").is(http.StatusServiceUnavailable, "try again\n")
	ride.failing(nil)
	at := func(limit int) bool {
		return w.completes(w.route(ride.ServeHTTP, func(_ *idempotency.Config, c *Config) { c.MaxRequestBytes = limit }), ResumeConfig{})
	}
	require.False(w, at(4))
	w.gaveUp(1, "request-too-large")
	ride.did(1, 1)
	require.True(w, at(5))
}

func aPanicOfTheCompletersAttemptIsCounted(w *world) {
	w.recovers()
	ride := w.ride().failing(errProvider)
	var broken atomic.Bool
	broken.Store(true)
	route := w.route(func(writer http.ResponseWriter, r *http.Request) {
		ride.ServeHTTP(writer, r)
		if broken.Load() {
			panic(http.ErrAbortHandler)
		}
	})
	require.Panics(w, func() { route.post("k", "{}") })
	require.False(w, w.completes(route, ResumeConfig{}))
	w.gaveUp(1, "panicked")
	broken.Store(false)
	ride.failing(nil)
	require.True(w, w.completes(route, ResumeConfig{}))
	ride.did(1, 3)
}

func theCompleterStandsBack(w *world) {
	w.recovers()
	ride := w.ride().failing(errProvider)
	inside, release, answered := make(chan struct{}), make(chan struct{}), make(chan answer, 1)
	var runs atomic.Int64
	route := w.route(func(writer http.ResponseWriter, r *http.Request) {
		if runs.Add(1) == 2 {
			close(inside)
			<-release
		}
		ride.ServeHTTP(writer, r)
	})
	route.post("k", "{}").is(http.StatusServiceUnavailable, "try again\n")
	resume := w.adapter.Resume(route, ResumeConfig{})
	completer := w.completer(func(ctx context.Context, pending idempotency.Pending) error {
		go func() { answered <- route.post("k", "{}") }()
		within(w, inside)
		err := resume(ctx, pending)
		assert.ErrorIs(w, err, idempotency.ErrInProgress)
		assert.ErrorContains(w, err, "the handler answered 409")
		close(release)
		within(w, answered).is(http.StatusServiceUnavailable, "try again\n")
		return err
	})
	pass, err := completer.Pass(w.Context())
	require.NoError(w, err)
	require.Equal(w, idempotency.Pass{Found: 1, Pending: 1}, pass)
	w.gaveUp(0, "the handler answered 503")
	ride.did(1, 2)
}

func aProtectedHandlerInsideTheCompletersRequest(w *world) {
	w.recovers()
	ride := w.ride().failing(errProvider)
	inner := w.route(w.pays(http.StatusCreated), func(_ *idempotency.Config, c *Config) { c.Optional = true })
	route := w.route(func(writer http.ResponseWriter, r *http.Request) {
		for _, key := range []string{"k", "another-key", ""} {
			serve(w, inner, post(key, "{}").WithContext(r.Context())).problem(idempotency.CodeNested)
		}
		ride.ServeHTTP(writer, r)
	})
	route.post("k", "{}").is(http.StatusServiceUnavailable, "try again\n")
	ride.failing(nil)
	require.True(w, w.completes(route, ResumeConfig{}))
	inner.ran(0)
	ride.did(1, 2)
}
