package idempotency_test

import (
	"bytes"
	"context"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/budget"
	"github.com/onlyonce/onlyonce/memstore"
)

func fingerprintCases(tb testing.TB) []budget.Case {
	small := []byte(`{"amount":100,"currency":"USD"}`)
	large := append(append([]byte(`{"note":"`), bytes.Repeat([]byte("x"), 1<<20)...), `"}`...)
	sums := func(config idempotency.FingerprintConfig, body []byte) func() {
		f, err := idempotency.NewFingerprinter(config)
		require.NoError(tb, err)
		return func() { _ = f.Sum(body, "POST", "/api/v1/payments", "/api/v1/payments", "", "application/json") }
	}
	secret := idempotency.FingerprintConfig{Secrets: [][]byte{bytes.Repeat([]byte("s"), 32)}}
	canonical := idempotency.FingerprintConfig{CanonicalJSON: true}
	return []budget.Case{
		{Name: "no body", Run: sums(idempotency.FingerprintConfig{}, nil)},
		{Name: "small", Run: sums(idempotency.FingerprintConfig{}, small)},
		{Name: "1 MiB", Run: sums(idempotency.FingerprintConfig{}, large)},
		{Name: "HMAC", Run: sums(secret, small)},
		{Name: "canonical JSON", Allocs: 58, Run: sums(canonical, small)},
		{Name: "canonical JSON that is none", Allocs: 8, Run: sums(canonical, []byte("amount=100"))},
	}
}

func TestAFingerprintStaysWithinItsAllocations(t *testing.T) { budget.Check(t, fingerprintCases(t)) }
func BenchmarkFingerprint(b *testing.B)                      { budget.Benchmark(b, fingerprintCases(b)) }

func engineCases(tb testing.TB) []budget.Case {
	open := func(config idempotency.Config) *idempotency.Engine {
		store, err := memstore.New(memstore.Config{MaxBytes: 1 << 40})
		require.NoError(tb, err)
		engine, err := idempotency.New(store, config)
		require.NoError(tb, err)
		return engine
	}
	response := idempotency.Response{Status: 201, Header: []byte("Content-Type: application/json\r\n"), Body: []byte(`{"id":"pay_1"}`)}
	handler := func(context.Context) (idempotency.Response, error) { return response, nil }
	run := func(engine *idempotency.Engine, request idempotency.Request) func() {
		return func() { _, _ = engine.Run(context.Background(), request, handler) }
	}
	shared := request
	shared.SharesResponse = true
	miss, n := open(idempotency.Config{}), 1_000_000_000
	missCached, m := open(idempotency.Config{Cache: &hoard{}}), 1_000_000_000
	keyless := open(idempotency.Config{})
	return []budget.Case{
		{Name: "hit", Allocs: 2, Run: run(open(idempotency.Config{}), request)},
		{Name: "hit in memory", Allocs: 1, Run: run(open(idempotency.Config{Cache: &hoard{}}), request)},
		{Name: "hit in memory, shared", Run: run(open(idempotency.Config{Cache: &hoard{}}), shared)},
		{Name: "miss", Allocs: 7, Run: func() {
			n++
			fresh := request
			fresh.Key.Value = strconv.Itoa(n)
			run(miss, fresh)()
		}},
		{Name: "miss, cached", Allocs: 9, Run: func() {
			m++
			fresh := request
			fresh.Key.Value = strconv.Itoa(m)
			run(missCached, fresh)()
		}},
		{Name: "no key", Allocs: 3, Run: func() { _, _ = keyless.RunWithoutKey(context.Background(), handler) }},
	}
}

func TestARunStaysWithinItsAllocations(t *testing.T) { budget.Check(t, engineCases(t)) }
func BenchmarkRun(b *testing.B)                      { budget.Benchmark(b, engineCases(b)) }
