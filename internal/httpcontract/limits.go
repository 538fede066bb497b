package httpcontract

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

var limitTests = []test{
	{"a key may be as long as the limit", aKeyMayBeAsLongAsTheLimit},
	{"a scope may be as long as the limit", aScopeMayBeAsLongAsTheLimit},
	{"limits that cannot be are refused", limitsThatCannotBeAreRefused},
	{"the stored headers may be as large as the limit", theStoredHeadersMayBeAsLargeAsTheLimit},
	{"as many duplicates wait as may wait", asManyDuplicatesWaitAsMayWait},
	{"as many operations of a scope run as may be pending", asManyOperationsRunAsMayBePending},
	{"as many keys of a scope are at a recovery point as may be pending", asManyKeysAreLeftAsMayBePending},
	{"a key over the limit of pending ones leaves no effect", aKeyOverTheLimitLeavesNoEffect},
	{"the completer is never turned away", theCompleterIsNeverTurnedAway},
}

func aKeyMayBeAsLongAsTheLimit(w *world) {
	for i, limit := range []int{0, 1, 10, 254, 255} {
		w.each(fmt.Sprint("a limit of ", limit), func(w *world) {
			most := limit
			if most == 0 {
				most = 255
			}
			route := w.route(w.pays(http.StatusCreated), func(_ *idempotency.Config, c *Config) { c.MaxKeyBytes = limit })
			key := strings.Repeat(fmt.Sprint(i), most)
			first := route.post(key, "{}")
			first.is(http.StatusCreated, `{"status":"answered"}`)
			route.post(`"`+key+`"`, "{}").replays(first)
			route.ran(1)
			for _, longer := range []string{key + "k", `"` + key + `k"`, `"` + key + `\""`} {
				got := route.post(longer, "{}")
				got.problem(idempotency.CodeKeyInvalid)
				if most < 255 {
					require.Contains(w, got.body, fmt.Sprint("at most ", most, " "))
				}
			}
			route.ran(0)

			fromBody := w.route(w.pays(http.StatusCreated), func(_ *idempotency.Config, c *Config) {
				c.MaxKeyBytes = limit
				c.Key = func(_ *http.Request, body []byte) (string, error) { return string(body), nil }
			})
			fromBody.post("", strings.Repeat("abcde"[i:i+1], most)).is(http.StatusCreated, `{"status":"answered"}`)
			fromBody.post("", strings.Repeat("abcde"[i:i+1], most+1)).problem(idempotency.CodeKeyInvalid)
			fromBody.ran(1)
		})
	}
}

func aScopeMayBeAsLongAsTheLimit(w *world) {
	for name, scope := range map[string]string{"ASCII": strings.Repeat("s", 255), "of several bytes": strings.Repeat("ß", 127) + "s"} {
		w.each(name, func(w *world) {
			route := w.route(w.pays(http.StatusCreated), byAccount)
			route.send(of(scope, w.key())).is(http.StatusCreated, `{"status":"answered"}`)
			route.send(of(scope+"s", w.key())).problem(idempotency.CodeScopeMissing)
			route.ran(1)
		})
	}
}

func limitsThatCannotBeAreRefused(w *world) {
	for _, bad := range []int{-1, 256} {
		_, err := w.mount(w.pays(http.StatusCreated), func(_ *idempotency.Config, c *Config) { c.MaxKeyBytes = bad })
		require.ErrorContains(w, err, fmt.Sprint("MaxKeyBytes is ", bad, ": give 1 to 255"))
	}
	_, err := w.mount(w.pays(http.StatusCreated), func(_ *idempotency.Config, c *Config) { c.MaxRequestBytes = -1 })
	require.ErrorContains(w, err, "MaxRequestBytes is -1")
}

func theStoredHeadersMayBeAsLargeAsTheLimit(w *world) {
	for _, tt := range []struct {
		name     string
		limit    int
		status   int
		optional bool
	}{
		{"by default", 16 << 10, http.StatusCreated, false},
		{"as configured", 100, http.StatusCreated, false},
		{"of a refusal", 100, http.StatusPaymentRequired, false},
		{"without a key", 100, http.StatusCreated, true},
	} {
		w.each(tt.name, func(w *world) {
			var location string
			route := w.route(func(writer http.ResponseWriter, r *http.Request) {
				w.effect(r.Context())
				writer.Header().Set("Location", location)
				writer.Header().Set("Link", "<2>")
				writer.Header().Set("X-Not-Stored", strings.Repeat("x", 100))
				writer.WriteHeader(tt.status)
			}, func(e *idempotency.Config, c *Config) {
				c.Optional = tt.optional
				if tt.limit == 100 {
					e.MaxResponseHeaderBytes = 100
				}
			})
			key := w.key()
			if tt.optional {
				key = ""
			}
			var before int
			w.count("effects", &before)
			fits := tt.limit - len("Link: <2>\r\nLocation: \r\n")
			location = strings.Repeat("l", fits+1)
			for range 2 {
				got := route.post(key, "{}")
				got.problem(idempotency.CodeResponseTooLarge)
				require.Empty(w, got.header.Get("Location"))
			}
			route.ran(2)
			w.hasEffects(before)

			location = strings.Repeat("l", fits)
			first := route.post(key, "{}")
			require.Equal(w, tt.status, first.status, first.body)
			require.Equal(w, location, first.header.Get("Location"))
			if !tt.optional {
				route.post(key, "{}").replays(first)
			}
			route.ran(1)
		})
	}
}

// count counts rows, where there are any.
func (w *world) count(table string, rows *int) {
	w.Helper()
	if w.pool != nil {
		require.NoError(w, w.pool.QueryRow(w.Context(), "SELECT count(*) FROM "+table).Scan(rows))
	}
}

func asManyDuplicatesWaitAsMayWait(w *world) {
	const most, duplicates = 3, 10
	few := func(e *idempotency.Config, _ *Config) { e.MaxWaiters = most }
	route, finish := w.running("k", waiting, few)
	elsewhere := w.route(w.pays(http.StatusCreated), waiting, few) // another process
	answers := map[http.Handler]chan answer{route: make(chan answer, duplicates), elsewhere: make(chan answer, duplicates)}
	for at, got := range answers {
		for range duplicates {
			go func() { got <- serve(w, at, post("k", "{}")) }()
		}
	}
	for _, got := range answers {
		for range duplicates - most {
			within(w, got).problem(idempotency.CodeInProgress)
		}
	}
	// Nobody else is affected, although every place is taken.
	unrelated := elsewhere.post("unrelated", "{}")
	unrelated.is(http.StatusCreated, `{"status":"answered"}`)
	elsewhere.post("unrelated", "{}").replays(unrelated)
	elsewhere.ran(1)

	first := finish()
	first.is(http.StatusCreated, `{"status":"answered"}`)
	for _, got := range answers {
		for range most {
			within(w, got).replays(first)
		}
	}
	route.post("k", "{}").replays(first) // also for those that were turned away
	route.ran(1)
	elsewhere.ran(0)
	w.hasEffects(2)
}

func byAccount(_ *idempotency.Config, c *Config) {
	c.Scope = func(r *http.Request) (string, error) { return r.Header.Get("Account"), nil }
}

func atMost(n int) option { return func(e *idempotency.Config, _ *Config) { e.MaxPendingPerScope = n } }

// of is a request of account.
func of(account, key string) *http.Request {
	request := post(key, "{}")
	request.Header.Set("Account", account)
	return request
}

func asManyOperationsRunAsMayBePending(w *world) {
	inside, release := make(chan struct{}), make(chan struct{})
	pays := w.pays(http.StatusCreated)
	route := w.route(func(writer http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Slow") != "" {
			inside <- struct{}{}
			<-release
		}
		pays(writer, r)
	}, byAccount, atMost(2))
	completed := route.send(of("alice", "completed"))
	completed.is(http.StatusCreated, `{"status":"answered"}`)
	var slow sync.WaitGroup
	for _, key := range []string{"slow-1", "slow-2"} {
		slow.Go(func() {
			request := of("alice", key)
			request.Header.Set("Slow", "yes")
			route.send(request).is(http.StatusCreated, `{"status":"answered"}`)
		})
		within(w, inside)
	}
	route.ran(3)
	for range 3 {
		route.send(of("alice", "one-more")).problem(idempotency.CodeTooManyPending)
		route.send(of("alice", "slow-1")).problem(idempotency.CodeInProgress)
		route.send(of("alice", "completed")).replays(completed)
	}
	route.ran(0)
	w.hasRecords(1)
	route.send(of("bob", "one-more")).is(http.StatusCreated, `{"status":"answered"}`)
	route.ran(1)

	close(release)
	slow.Wait()
	route.send(of("alice", "one-more")).is(http.StatusCreated, `{"status":"answered"}`)
	route.ran(1)
	w.hasEffects(5)
}

func asManyKeysAreLeftAsMayBePending(w *world) {
	w.recovers()
	ride := w.ride().failing(errProvider)
	here, elsewhere := w.route(ride.ServeHTTP, byAccount, atMost(2)), w.route(ride.ServeHTTP, byAccount, atMost(2))
	for i, at := range []*route{here, elsewhere} {
		got := at.send(of("alice", fmt.Sprint("ride-", i)))
		require.Equal(w, http.StatusServiceUnavailable, got.status, got.body)
	}
	for _, at := range []*route{here, elsewhere} {
		at.send(of("alice", "one-more")).problem(idempotency.CodeTooManyPending)
		at.send(of("alice", "one-more")).problem(idempotency.CodeTooManyPending)
	}
	w.hasRecords(2)
	w.hasEffects(2)
	got := here.send(of("bob", "ride")) // whose keys are counted for themselves
	require.Equal(w, http.StatusServiceUnavailable, got.status, got.body)
	w.route(w.pays(http.StatusCreated), byAccount, atMost(2)).send(of("alice", "no-steps")).is(http.StatusCreated, `{"status":"answered"}`)

	// What is pending goes on, and makes room.
	got = elsewhere.send(of("alice", "ride-0"))
	require.Equal(w, http.StatusServiceUnavailable, got.status, got.body)
	ride.failing(nil)
	first := elsewhere.send(of("alice", "ride-0"))
	require.Equal(w, http.StatusCreated, first.status, first.body)
	first.t = w
	got = here.send(of("alice", "one-more"))
	require.Equal(w, http.StatusCreated, got.status, got.body)
	here.send(of("alice", "ride-0")).replays(first)
}

func aKeyOverTheLimitLeavesNoEffect(w *world) {
	w.recovers()
	ride := w.ride().failing(errProvider)
	got := w.route(ride.ServeHTTP, atMost(1)).post("ride", "{}")
	require.Equal(w, http.StatusServiceUnavailable, got.status, got.body)
	for name, step := range map[string]func(ctx context.Context) error{
		"an atomic phase": func(ctx context.Context) error {
			_, err := idempotency.Atomic(ctx, "step", func(context.Context) (int, error) {
				w.Error("the step ran")
				return 0, nil
			})
			return err
		},
		"a foreign call": func(ctx context.Context) error {
			_, err := idempotency.Foreign(ctx, "step", func(context.Context, string) (int, error) {
				w.Error("the call was made")
				return 0, nil
			})
			return err
		},
	} {
		w.each(name, func(w *world) {
			key := w.key()
			route := w.route(func(writer http.ResponseWriter, r *http.Request) {
				if err := step(r.Context()); err == nil {
					w.Error("the step succeeded")
				}
				w.pays(http.StatusCreated)(writer, r) // a handler that does not listen
			}, atMost(1))
			for range 2 {
				route.post(key, "{}").problem(idempotency.CodeTooManyPending)
			}
			route.ran(2)
			w.hasEffects(1)
			w.hasRecords(1)
		})
	}
}

func theCompleterIsNeverTurnedAway(w *world) {
	w.recovers()
	ride := w.ride().failing(errProvider)
	inside, release := make(chan struct{}), make(chan struct{})
	route := w.route(func(writer http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Slow") == "" {
			ride.ServeHTTP(writer, r)
			return
		}
		close(inside)
		<-release
	}, atMost(1))
	got := route.post("ride", "{}")
	require.Equal(w, http.StatusServiceUnavailable, got.status, got.body)
	ride.failing(nil)
	answered := make(chan answer, 1)
	slow := post("slow", "{}")
	slow.Header.Set("Slow", "yes")
	go func() { answered <- route.send(slow) }()
	within(w, inside)
	route.post("one-more", "{}").problem(idempotency.CodeTooManyPending)
	require.True(w, w.completes(route, ResumeConfig{}))
	close(release)
	require.Equal(w, http.StatusOK, within(w, answered).status)
	ride.did(1, 2)
}
