package plugin

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

func TestAClaimIsCarriedAsItIs(t *testing.T) {
	t.Parallel()
	for _, state := range []state{asked, claimed, answered, unneeded} {
		for _, key := range []idempotency.Key{{Scope: "s", Value: "v"}, {Scope: strings.Repeat("s", 255), Value: strings.Repeat("v", 255)}, {Scope: "é", Value: "a b"}} {
			c := &claim{state: state, owner: idempotency.NewOwnerToken(), fingerprint: (*idempotency.Fingerprinter)(nil).Sum(nil, "x"), key: key}
			parsed, err := parseClaim(c.String())
			require.NoError(t, err)
			assert.Equal(t, c, parsed)
		}
	}
}

func TestADamagedClaimIsRefused(t *testing.T) {
	t.Parallel()
	whole := (&claim{state: claimed, owner: idempotency.NewOwnerToken(), key: idempotency.Key{Scope: "scope", Value: "value"}}).String()
	raw, err := base64.RawStdEncoding.DecodeString(whole)
	require.NoError(t, err)
	change := func(at int, to byte) string {
		b := append([]byte(nil), raw...)
		b[at] = to
		return base64.RawStdEncoding.EncodeToString(b)
	}
	noOwner := append([]byte(nil), raw...)
	clear(noOwner[2:18])
	for name, text := range map[string]string{
		"empty": "", "no base64": "%", "cut": whole[:20], "cut at the scope": whole[:len(whole)-14], "padded": whole + "==",
		"with bits beyond its end": whole[:len(whole)-1] + string(rune(whole[len(whole)-1]+1)),
		"another version":          change(0, 2), "another state": change(1, 'x'), "a scope beyond the end": change(51, 200), "an empty scope": change(51, 0),
		"no value": change(51, 10), "no owner": base64.RawStdEncoding.EncodeToString(noOwner), "a control character": change(53, 7),
	} {
		_, err := parseClaim(text)
		assert.ErrorIs(t, err, errClaim, name)
	}
}

func FuzzParseClaim(f *testing.F) {
	f.Add((&claim{state: claimed, owner: idempotency.OwnerToken{1}, key: idempotency.Key{Scope: "scope", Value: "value"}}).String())
	f.Add("")
	f.Add("AWMB")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseClaim(text)
		if err == nil && c.String() != text {
			t.Fatal("a claim has two forms")
		}
	})
}
