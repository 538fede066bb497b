package httpidem_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/httpidem"
)

func FuzzParseKey(f *testing.F) {
	for _, seed := range []string{
		"", " ", "k1", " k1\t", `"k1"`, `"k 1"`, `"a\"b\\c"`, `"a\b"`, `"`, `""`, `" "`, `"k1";a`, `"k1"; a=1;b="x;y";*c=:aGk=:`, `"k1";A`,
		`"k1" ;a`, `"k1",k2`, "k1,k2", "k1;a", "k\x00", "kü", "\"kü\"", "k\x7f", strings.Repeat("k", 255), strings.Repeat("k", 256),
		`"` + strings.Repeat(`\"`, 255) + `"`, "k1\r\nSet-Cookie: a", `a\b`, "123e4567-e89b-12d3-a456-426614174000",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		key, err := httpidem.ParseKey([]string{value})
		if err != nil {
			require.ErrorIs(t, err, idempotency.ErrKeyInvalid)
			require.Empty(t, key)
			if secret := strings.Trim(value, " \t"); len(secret) > 20 { // short ones are words of the message
				require.NotContains(t, err.Error(), secret, "the key is in the error")
			}
			return
		}
		require.NoError(t, idempotency.Key{Scope: "s", Value: key}.Check())
		for i := range len(key) {
			require.True(t, key[i] >= 0x20 && key[i] <= 0x7e, "%q has byte %#x in it", key, key[i])
		}

		quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(key) + `"`
		for _, spelling := range []string{quoted, " " + quoted + "\t", quoted + `;a;b=1;c="x"`} {
			same, err := httpidem.ParseKey([]string{spelling})
			require.NoError(t, err, spelling)
			require.Equal(t, key, same)
		}
		if !strings.ContainsAny(key, ` ",;`) {
			same, err := httpidem.ParseKey([]string{key})
			require.NoError(t, err)
			require.Equal(t, key, same)
		}
	})
}
