package pgstore_test

import (
	"strings"
	"testing"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/budget"
	"github.com/onlyonce/onlyonce/pgstore"
)

func lockCases() []budget.Case {
	of := func(namespace string, key idempotency.Key) func() {
		return func() { _ = pgstore.LockOf(namespace, key) }
	}
	return []budget.Case{
		{Name: "usual", Run: of("", idempotency.Key{Scope: "alice", Value: "8e03978e-40d5-43dd-bc93-6894a57f9324"})},
		{Name: "longest", Run: of(strings.Repeat("n", 63), idempotency.Key{Scope: strings.Repeat("s", 255), Value: strings.Repeat("k", 255)})},
	}
}

func TestALockStaysWithinItsAllocations(t *testing.T) { budget.Check(t, lockCases()) }
func BenchmarkLockOf(b *testing.B)                    { budget.Benchmark(b, lockCases()) }
