package idempotency_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

func TestAKeyIsChecked(t *testing.T) {
	t.Parallel()
	invalid, noScope, missing := idempotency.ErrKeyInvalid, idempotency.ErrScopeMissing, idempotency.ErrKeyMissing
	for _, c := range []struct {
		name, scope, value string
		want               *idempotency.Error
	}{
		{"plain", "alice", "k", nil},
		{"shared", idempotency.SharedScope, "k", nil},
		{"the longest", strings.Repeat("s", 255), strings.Repeat("k", 255), nil},
		{"another alphabet", "Bücher & Söhne", "заказ 7", nil},
		{"a space inside", "a b", " k ", nil},
		{"a replacement character", "a", "\uFFFD", nil},
		{"neither", "", "", noScope},
		{"no scope", "", "k", noScope},
		{"no value", "s", "", missing},
		{"a blank scope", " ", "k", noScope},
		{"a blank value", "s", " \u00a0\u3000", invalid},
		{"a long scope", strings.Repeat("s", 256), "k", noScope},
		{"a long value", "s", strings.Repeat("k", 256), invalid},
		{"bytes count, not characters", "s", strings.Repeat("ü", 128), invalid},
		{"a NUL in the scope", "s\x00", "k", noScope},
		{"a NUL", "s", "k\x00", invalid},
		{"a line break", "s", "k\nk", invalid},
		{"DEL", "s", "\x7f", invalid},
		{"a C1 control", "s", "k\u0085", invalid},
		{"no UTF-8 in the scope", "\xff", "k", noScope},
		{"no UTF-8", "s", "k\xff", invalid},
		{"a surrogate", "s", "\xed\xa0\x80", invalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			err := idempotency.Key{Scope: c.scope, Value: c.value}.Check()
			if c.want == nil {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, c.want)
			for _, secret := range []string{c.scope, c.value} {
				if len(secret) > 20 {
					require.NotContains(t, err.Error(), secret)
				}
			}
		})
	}
}
