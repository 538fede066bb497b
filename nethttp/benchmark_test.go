package nethttp_test

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/memstore"
	"github.com/onlyonce/onlyonce/nethttp"
)

const paymentBody = `{"amount":100,"currency":"USD"}`

func createPayment(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_, _ = w.Write([]byte(`{"id":"pay_1","amount":100,"currency":"USD"}`))
}

// exchange is one request to the bare handler, or to the protected one, with httptest's own allocations in it.
type exchange struct {
	handler http.Handler
	body    string
	key     func() string
}

func (e *exchange) run() int {
	var r *http.Request
	if e.body == "" {
		r = httptest.NewRequest(http.MethodPost, "/payments", nil)
	} else {
		r = httptest.NewRequest(http.MethodPost, "/payments", strings.NewReader(e.body))
	}
	if e.key != nil {
		r.Header["Idempotency-Key"] = []string{e.key()}
	}
	w := httptest.NewRecorder()
	e.handler.ServeHTTP(w, r)
	return w.Code
}

func protectedPayment(tb testing.TB) http.Handler {
	store, err := memstore.New(memstore.Config{MaxBytes: 1 << 40})
	require.NoError(tb, err)
	engine, err := idempotency.New(store, idempotency.Config{})
	require.NoError(tb, err)
	protect, err := nethttp.Middleware(engine, nethttp.Config{Scope: nethttp.SharedScope, Optional: true})
	require.NoError(tb, err)
	return protect(http.HandlerFunc(createPayment))
}

func freshKeys(prefix string) func() func() string {
	return func() func() string {
		n := 1_000_000_000
		return func() string { n++; return prefix + strconv.Itoa(n) }
	}
}

type allocationCase struct {
	name            string
	bare, protected *exchange
	budget          float64 // allocations above the bare handler's
}

// allocationCases are what the same request costs at the bare handler and at the protected one.
func allocationCases(tb testing.TB) []allocationCase {
	bare, protected := http.Handler(http.HandlerFunc(createPayment)), protectedPayment(tb)
	on := func(body string, key func() func() string) (*exchange, *exchange) {
		return &exchange{bare, body, key()}, &exchange{protected, body, key()}
	}
	var list []allocationCase
	for _, c := range []struct {
		name   string
		body   string
		key    func() func() string
		budget float64
	}{
		{"hit", "", func() func() string { return func() string { return "one-key" } }, 2},
		{"hit with a body", paymentBody, func() func() string { return func() string { return "another-key" } }, 2},
		{"miss", "", freshKeys("a"), 11},
		{"miss with a body", paymentBody, freshKeys("b"), 12},
		{"no key", "", func() func() string { return nil }, 9},
		{"no key with a body", paymentBody, func() func() string { return nil }, 10},
	} {
		b, p := on(c.body, c.key)
		list = append(list, allocationCase{c.name, b, p, c.budget})
	}
	return list
}

func TestProtectionStaysWithinItsAllocations(t *testing.T) {
	for _, c := range allocationCases(t) {
		require.Equal(t, http.StatusCreated, c.protected.run())
		bare := testing.AllocsPerRun(2000, func() { c.bare.run() })
		protected := testing.AllocsPerRun(2000, func() { c.protected.run() })
		t.Logf("%s: bare %.0f, protected %.0f, above %.0f of %.0f", c.name, bare, protected, protected-bare, c.budget)
		if protected-bare > c.budget+raceSlack {
			t.Errorf("%s: %.0f allocations above the bare handler's %.0f, want at most %.0f", c.name, protected-bare, bare, c.budget)
		}
	}
}

func BenchmarkMiddleware(b *testing.B) {
	for _, c := range allocationCases(b) {
		for name, e := range map[string]*exchange{"bare": c.bare, "protected": c.protected} {
			b.Run(c.name+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					e.run()
				}
			})
		}
	}
}
