package httpcontract

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

var recoveryTests = []test{
	{"a retry goes on after the last recovery point", aRetryGoesOnAfterTheLastRecoveryPoint},
	{"a refusal after a step is kept", aRefusalAfterAStepIsKept},
	{"another request with a pending key is refused", anotherRequestWithAPendingKeyIsRefused},
	{"code without the stored steps finishes nothing", codeWithoutTheStoredStepsFinishesNothing},
	{"an attempt that lost its lease has no answer", anAttemptThatLostItsLeaseHasNoAnswer},
	{"a step needs a key to resume by", aStepNeedsAKey},
	{"neither credentials nor the key can be kept", neitherCredentialsNorTheKeyCanBeKept},
}

// recovers skips the test where the store keeps no recovery points.
func (w *world) recovers() {
	w.Helper()
	attempt, _, err := w.store.Claim(w.Context(), idempotency.Key{Scope: "nobody", Value: "probe"})
	require.NoError(w, err)
	_, chain := attempt.(idempotency.Chain)
	_, lists := w.store.(idempotency.Recoverer)
	require.NoError(w, attempt.Release(w.Context()))
	if !chain || !lists {
		w.Skipf("%T keeps no recovery points", w.store)
	}
}

// ride is a handler with an atomic phase, a foreign call, and a tail. Both phases have an effect.
type ride struct {
	*world
	status int // of the answer to a charge that went through

	mu      sync.Mutex
	created int
	keys    []string // that the foreign call was given
	fails   error    // what the foreign call returns
}

func (w *world) ride() *ride { return &ride{world: w, status: http.StatusCreated} }

var errProvider = errors.New("the card's provider is down")

// failing has the foreign call fail by err from now on.
func (h *ride) failing(err error) *ride {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fails = err
	return h
}

func (h *ride) create(ctx context.Context) (int, error) {
	return idempotency.Atomic(ctx, "ride_created", func(ctx context.Context) (int, error) {
		h.effect(ctx)
		h.mu.Lock()
		defer h.mu.Unlock()
		h.created++
		return h.created, nil
	})
}

func (h *ride) charge(ctx context.Context) (string, error) {
	return idempotency.Foreign(ctx, "card_charged", func(_ context.Context, key string) (string, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.keys = append(h.keys, key)
		return "charge of " + key, h.fails
	})
}

func (h *ride) ServeHTTP(writer http.ResponseWriter, r *http.Request) {
	id, err := h.create(r.Context())
	if err != nil {
		http.Error(writer, "creating failed", http.StatusInternalServerError)
		return
	}
	charge, err := h.charge(r.Context())
	if err != nil {
		http.Error(writer, "try again", http.StatusServiceUnavailable)
		return
	}
	h.effect(r.Context())
	writer.Header().Set("Content-Type", "application/vnd.ride+json")
	writer.Header().Set("Location", fmt.Sprint("/rides/", id))
	writer.WriteHeader(h.status)
	_, _ = fmt.Fprintf(writer, "ride %d\x00\xff %s", id, charge)
}

// did checks how often the ride was created, and how often the card's provider was called: always with the same key, which it returns.
func (h *ride) did(created, charged int) (key string) {
	h.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	require.Equal(h, created, h.created, "runs of the atomic phase")
	require.Len(h, h.keys, charged, "foreign calls")
	for _, key = range h.keys {
		require.Equal(h, h.keys[0], key)
	}
	return key
}

func (h *ride) answer(key string) string { return "ride 1\x00\xff charge of " + key }

func aRetryGoesOnAfterTheLastRecoveryPoint(w *world) {
	w.recovers()
	ride := w.ride().failing(errProvider)
	here, elsewhere := w.serve(w.route(ride.ServeHTTP)), w.serve(w.route(ride.ServeHTTP))
	for i := range 3 {
		here.post("k", "{}").is(http.StatusServiceUnavailable, "try again\n")
		ride.did(1, i+1)
		w.hasEffects(1)
		w.hasRecords(1)
	}
	ride.failing(nil)
	first := elsewhere.post("k", "{}")
	key := ride.did(1, 4)
	first.is(http.StatusCreated, ride.answer(key))
	require.Equal(w, idempotency.ForeignKey(idempotency.Key{Scope: "alice", Value: "k"}, "card_charged"), key)
	w.hasEffects(2)
	for _, at := range []*server{here, elsewhere} {
		at.post("k", "{}").replays(first)
	}
	ride.did(1, 4)
	w.hasEffects(2)
	w.hasRecords(1)
}

func aRefusalAfterAStepIsKept(w *world) {
	w.recovers()
	for _, failures := range []int{0, 1} {
		w.each(fmt.Sprint(failures, " failures before"), func(w *world) {
			ride := w.ride().failing(errProvider)
			ride.status = http.StatusPaymentRequired
			server, key := w.serve(w.route(ride.ServeHTTP)), w.key()
			for range failures {
				server.post(key, "{}").is(http.StatusServiceUnavailable, "try again\n")
			}
			ride.failing(nil)
			first := server.post(key, "{}")
			first.is(http.StatusPaymentRequired, ride.answer(ride.did(1, failures+1)))
			server.post(key, "{}").replays(first)
			ride.did(1, failures+1)
			w.hasEffects(failures + 1) // one of each atomic phase, and none of a tail
		})
	}
}

func anotherRequestWithAPendingKeyIsRefused(w *world) {
	w.recovers()
	ride := w.ride().failing(errProvider)
	server := w.serve(w.route(ride.ServeHTTP))
	server.post("k", "{}").is(http.StatusServiceUnavailable, "try again\n")
	ride.failing(nil)
	for range 2 {
		server.post("k", "other").problem(idempotency.CodeKeyReused)
	}
	key := ride.did(1, 1)
	server.post("k", "{}").is(http.StatusCreated, ride.answer(key))
	ride.did(1, 2)
}

func codeWithoutTheStoredStepsFinishesNothing(w *world) {
	w.recovers()
	ride := w.ride().failing(errProvider)
	server := w.serve(w.route(ride.ServeHTTP))
	server.post("k", "{}").is(http.StatusServiceUnavailable, "try again\n")
	ride.failing(nil)
	for name, deployed := range map[string]http.HandlerFunc{
		"a step was renamed": func(writer http.ResponseWriter, r *http.Request) {
			_, err := idempotency.Atomic(r.Context(), "trip_created", func(context.Context) (int, error) {
				w.Error("a step ran that is not the stored one")
				return 0, nil
			})
			http.Error(writer, fmt.Sprint(err), http.StatusInternalServerError)
		},
		"the steps were dropped": w.pays(http.StatusCreated),
	} {
		w.each(name, func(w *world) {
			w.serve(w.route(deployed)).post("k", "{}").problem(idempotency.CodeStepsChanged)
		})
	}
	w.hasEffects(1)
	key := ride.did(1, 1)
	server.post("k", "{}").is(http.StatusCreated, ride.answer(key))
	ride.did(1, 2)
}

// overtaken is a store in which another attempt takes the key over as soon as this one has its first recovery point.
type overtaken struct{ idempotency.Store }

func (s overtaken) Claim(ctx context.Context, key idempotency.Key) (idempotency.Attempt, *idempotency.Record, error) {
	attempt, record, err := s.Store.Claim(ctx, key)
	if chain, ok := attempt.(idempotency.Chain); ok {
		attempt = overtakenAttempt{chain}
	}
	return attempt, record, err
}

type overtakenAttempt struct{ idempotency.Chain }

func (overtakenAttempt) Detach(context.Context, idempotency.Progress, time.Duration) error {
	return idempotency.ErrLeaseLost
}

func anAttemptThatLostItsLeaseHasNoAnswer(w *world) {
	w.recovers()
	ride := w.ride()
	slow := *w
	slow.store = overtaken{w.store}
	w.serve(slow.route(ride.ServeHTTP)).post("k", "{}").problem(idempotency.CodeLeaseLost)
	ride.did(1, 0)
	w.hasEffects(1)
	w.serve(w.route(ride.ServeHTTP)).post("k", "{}").problem(idempotency.CodeInProgress) // the lease is the other attempt's
	ride.did(1, 0)
}

func aStepNeedsAKey(w *world) {
	w.recovers()
	ride := w.ride()
	server := w.serve(w.route(ride.ServeHTTP, func(_ *idempotency.Config, c *Config) { c.Optional = true }))
	request := server.request("", nil)
	request.Header.Del("Idempotency-Key")
	server.send(request).problem(idempotency.CodeKeyMissing)
	ride.did(0, 0)
	w.hasEffects(0)
	w.hasRecords(0)
	server.post("k", "{}").is(http.StatusCreated, ride.answer(ride.did(1, 1)))
}

func neitherCredentialsNorTheKeyCanBeKept(w *world) {
	for name, why := range map[string]string{
		"Authorization": "credential", "cookie": "credential", "PROXY-Authorization": "credential",
		"idempotency-key": "carries the key", "X-Idempotency-Key": "carries the key",
		"no name": "not a header's name", "": "not a header's name",
	} {
		_, err := w.mount(w.pays(http.StatusCreated), bothHeaders, func(_ *idempotency.Config, c *Config) { c.KeepHeaders = []string{"X-A", name} })
		require.ErrorContains(w, err, why, name)
		require.ErrorContains(w, err, "KeepHeaders", name)
	}
	_, err := w.mount(w.pays(http.StatusCreated), func(_ *idempotency.Config, c *Config) {
		c.KeepHeaders = []string{"x-a", "X-A", "accept"}
		c.FingerprintHeaders = []string{"Authorization", "Idempotency-Key", "Host"} // of which nothing is stored but a digest
	})
	require.NoError(w, err)
}
