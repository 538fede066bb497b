package httpcontract

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

var optionTests = []test{
	{"a fingerprinter decides what is the same body", aFingerprinterDecidesWhatIsTheSame},
	{"secrets are rotated while keys are alive", secretsAreRotatedWhileKeysAreAlive},
	{"a policy decides what is kept", aPolicyDecidesWhatIsKept},
	{"a handler that runs again begins anew", aHandlerThatRunsAgainBeginsAnew},
	{"a panic leaves no header behind", aPanicLeavesNoHeaderBehind},
}

func fingerprintedBy(w *world, config idempotency.FingerprintConfig) option {
	w.Helper()
	fingerprinter, err := idempotency.NewFingerprinter(config)
	require.NoError(w, err)
	return func(_ *idempotency.Config, c *Config) { c.Fingerprinter = fingerprinter }
}

func aFingerprinterDecidesWhatIsTheSame(w *world) {
	canonical := w.route(w.pays(http.StatusCreated), fingerprintedBy(w, idempotency.FingerprintConfig{CanonicalJSON: true}))
	first := canonical.post("k", `{"a":1,"b":[2,3]}`)
	canonical.post("k", `{ "b": [2, 3], "a": 1 }`).replays(first)
	canonical.post("k", `{"a":1,"b":[3,2]}`).problem(idempotency.CodeKeyReused)
	canonical.ran(1)

	plain := w.route(w.pays(http.StatusCreated))
	plain.post("plain", `{"a":1}`).is(http.StatusCreated, `{"status":"answered"}`)
	plain.post("plain", `{"a": 1}`).problem(idempotency.CodeKeyReused)
	plain.ran(1)
}

func secretsAreRotatedWhileKeysAreAlive(w *world) {
	older, newer := []byte(strings.Repeat("o", 16)), []byte(strings.Repeat("n", 16))
	signed := func(secrets ...[]byte) *route {
		return w.route(w.pays(http.StatusCreated), fingerprintedBy(w, idempotency.FingerprintConfig{Secrets: secrets}))
	}
	unsigned := w.route(w.pays(http.StatusCreated))
	plain := unsigned.post("plain", "{}")
	first := signed(older).post("k", "{}")
	signed(newer, older).post("k", "{}").replays(first)
	signed(newer, older).post("plain", "{}").replays(plain)
	signed(newer, older).post("k", "other").problem(idempotency.CodeKeyReused)
	signed(newer).post("k", "{}").problem(idempotency.CodeKeyReused)
	unsigned.post("k", "{}").problem(idempotency.CodeKeyReused)
	unsigned.ran(1)
}

func aPolicyDecidesWhatIsKept(w *world) {
	for _, tt := range []struct {
		outcome             idempotency.Outcome
		effects, runs, kept int
	}{{idempotency.Complete, 1, 1, 1}, {idempotency.Refuse, 1, 1, 2}, {idempotency.Release, 1, 2, 2}} {
		w.each(tt.outcome.String(), func(w *world) {
			route := w.route(w.answers(http.StatusTeapot), func(e *idempotency.Config, _ *Config) {
				e.Policy = func(response idempotency.Response, err error) idempotency.Outcome {
					assert.Equal(w, http.StatusTeapot, response.Status)
					assert.NoError(w, err)
					return tt.outcome
				}
			})
			key := w.key()
			for range 2 {
				require.Equal(w, http.StatusTeapot, route.post(key, "{}").status)
			}
			route.ran(tt.runs)
			w.hasEffects(tt.effects)
			w.hasRecords(tt.kept)
		})
	}
}

func aHandlerThatRunsAgainBeginsAnew(w *world) {
	if w.pool == nil {
		return // nothing there gets in a handler's way
	}
	var runs atomic.Int64
	route := w.route(func(writer http.ResponseWriter, r *http.Request) {
		w.effect(r.Context())
		body, err := io.ReadAll(r.Body)
		assert.NoError(w, err)
		n := runs.Add(1)
		writer.Header().Set("Location", fmt.Sprint("/payments/", n))
		if n < 3 {
			writer.Header().Set("X-Conflict", "yes")
			w.sql(r.Context(), `DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40001'; END $$`)
		}
		writer.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprintf(writer, "run %d of %s", n, body)
	}, func(e *idempotency.Config, _ *Config) { e.Reruns = 2 })
	first := route.post("k", `{"amount":1}`)
	first.is(http.StatusCreated, `run 3 of {"amount":1}`)
	require.Equal(w, http.Header{"Location": {"/payments/3"}}, first.header)
	route.post("k", `{"amount":1}`).replays(first)
	route.ran(3)
	w.hasEffects(1)
}

func aPanicLeavesNoHeaderBehind(w *world) {
	route := w.route(func(writer http.ResponseWriter, r *http.Request) {
		writer.Header().Set("Set-Cookie", "session=secret")
		writer.Header().Set("Content-Type", "application/json")
		writer.Header().Del("X-Trace")
		w.pays(http.StatusCreated)(writer, r)
		panic("broken")
	})
	got := serve(w, http.HandlerFunc(func(writer http.ResponseWriter, r *http.Request) {
		writer.Header().Set("X-Trace", "outer")
		defer func() {
			if recover() != nil {
				writer.WriteHeader(http.StatusInternalServerError)
			}
		}()
		route.ServeHTTP(writer, r)
	}), post("k", "{}"))
	got.is(http.StatusInternalServerError, "")
	require.Equal(w, http.Header{"X-Trace": {"outer"}}, got.header)
}
