package idempotency_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

// foreignKeys are fixed for ever: a provider that has seen one must see the same after every upgrade of this library.
var foreignKeys = []struct {
	scope, value, point, want string
}{
	{"alice", "payment-1", "card_charged", "2a1c2bdb-da18-8ee0-a4f3-84812863b97a"},
	{"alice", "payment-1", "card_charged2", "199ec130-c232-88af-9923-cf65a117c9c6"},
	{"alice", "payment-1c", "ard_charged", "62b12cd0-af1d-8537-96c4-f6cc8eb78673"},
	{"alicep", "ayment-1", "card_charged", "d05e1049-52d0-88c8-a519-4678ca812172"},
	{"bob", "payment-1", "card_charged", "2ca48739-26ad-8175-b108-f8218edd9bad"},
	{idempotency.SharedScope, "8e03978e-40d5-43e8-bc93-6894a57f9324", "charge", "68c96a36-c0d0-8fa5-a55d-b3f702ff5346"},
	{"Zürich", "支払い-💸", "größe", "6dc41b6c-bb9d-8ab2-a875-4adb16ab54aa"},
	{"", "", "", "266b8e4f-8cdf-8fba-82ac-0deb26b91a89"},
	{strings.Repeat("s", 255), strings.Repeat("k", 255), strings.Repeat("p", 100), "49cf4037-e1e9-8291-82df-0de14ae57cd8"},
}

func TestForeignKeysAreWhatTheyHaveAlwaysBeen(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	seen := map[string]bool{}
	for _, c := range foreignKeys {
		got := idempotency.ForeignKey(idempotency.Key{Scope: c.scope, Value: c.value}, c.point)
		require.Equal(t, c.want, got, "scope %q, key %q, point %q", c.scope, c.value, c.point)
		require.Regexp(t, form, got)
		require.False(t, seen[got])
		seen[got] = true
	}
}
