package idempotency_test

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

var (
	oldSecret = bytes.Repeat([]byte("o"), 16)
	newSecret = bytes.Repeat([]byte("n"), 32)
)

func TestAFingerprintSaysByWhichRecipeItWasMade(t *testing.T) {
	t.Parallel()
	body := []byte(`{ "a": 1 }`)
	seen := map[idempotency.Fingerprint]bool{}
	for _, c := range []struct {
		version byte
		config  idempotency.FingerprintConfig
	}{
		{1, idempotency.FingerprintConfig{}},
		{2, idempotency.FingerprintConfig{CanonicalJSON: true}},
		{3, idempotency.FingerprintConfig{Secrets: [][]byte{oldSecret}}},
		{4, idempotency.FingerprintConfig{Secrets: [][]byte{oldSecret}, CanonicalJSON: true}},
	} {
		f := fingerprinter(t, c.config)
		sum := f.Sum(body, "POST", "/a")
		require.Equal(t, c.version, sum[0], "a stored fingerprint would be read by another recipe")
		require.False(t, seen[sum])
		seen[sum] = true
		require.Equal(t, sum, f.Sum(body, "POST", "/a"), "the same request again")
		require.True(t, f.Matches(sum, body, "POST", "/a"))
		require.False(t, f.Matches(sum, []byte(`{ "a": 2 }`), "POST", "/a"))
		require.False(t, f.Matches(sum, body, "POST", "/b"))
	}
}

func TestFingerprintsOfThisReleaseAreReadByTheNext(t *testing.T) {
	t.Parallel()
	sum := (*idempotency.Fingerprinter)(nil).Sum([]byte("body"), "POST", "/payments", "", "text/plain")
	parsed, err := idempotency.ParseFingerprint(sum[:])
	require.NoError(t, err)
	require.Equal(t, sum, parsed)
	require.Equal(t, "01c3a6731cca1d9960e80494517f55fb8646f508ad3f92445bf98d1353641c6410", hex.EncodeToString(sum[:]),
		"the recipe changed: give it a new version and keep the old one, since keys are alive")
}

func TestAFingerprintOfAnUnknownVersionMatchesNothing(t *testing.T) {
	t.Parallel()
	for _, version := range []byte{0, 5, 255} {
		sum := (*idempotency.Fingerprinter)(nil).Sum(nil)
		sum[0] = version
		require.False(t, fingerprinter(t, idempotency.FingerprintConfig{Secrets: [][]byte{oldSecret}}).Matches(sum, nil))
	}
	for _, stored := range [][]byte{nil, make([]byte, 32), make([]byte, 34)} {
		_, err := idempotency.ParseFingerprint(stored)
		require.ErrorContains(t, err, "want 33")
	}
}

// The recipe may change while keys are alive: the request of a key that was stored under the old one is still the same.
func TestTheRecipeCanChangeWhileKeysAreAlive(t *testing.T) {
	t.Parallel()
	spaced, dense, other := []byte(`{"a": 1, "b": 2}`), []byte(`{"b":2,"a":1}`), []byte(`{"b":2,"a":2}`)
	for _, c := range []struct {
		name                string
		before, after       idempotency.FingerprintConfig
		verbatim, respelled bool
	}{
		{"nothing changes", idempotency.FingerprintConfig{}, idempotency.FingerprintConfig{}, true, false},
		{"canonical JSON is switched on", idempotency.FingerprintConfig{}, idempotency.FingerprintConfig{CanonicalJSON: true}, true, false},
		{"canonical JSON is switched off", idempotency.FingerprintConfig{CanonicalJSON: true}, idempotency.FingerprintConfig{}, true, true},
		{
			"a secret is introduced", idempotency.FingerprintConfig{},
			idempotency.FingerprintConfig{Secrets: [][]byte{newSecret}}, true, false,
		},
		{
			"the secret is rotated", idempotency.FingerprintConfig{Secrets: [][]byte{oldSecret}},
			idempotency.FingerprintConfig{Secrets: [][]byte{newSecret, oldSecret}}, true, false,
		},
		{
			"the secret is rotated back by an old process", idempotency.FingerprintConfig{Secrets: [][]byte{newSecret, oldSecret}},
			idempotency.FingerprintConfig{Secrets: [][]byte{oldSecret, newSecret}}, true, false,
		},
		{
			"the old secret is dropped too early", idempotency.FingerprintConfig{Secrets: [][]byte{oldSecret}},
			idempotency.FingerprintConfig{Secrets: [][]byte{newSecret}}, false, false,
		},
		{
			"everything at once", idempotency.FingerprintConfig{Secrets: [][]byte{oldSecret}, CanonicalJSON: true},
			idempotency.FingerprintConfig{Secrets: [][]byte{newSecret, oldSecret}}, true, true,
		},
		{"the secret is taken away", idempotency.FingerprintConfig{Secrets: [][]byte{oldSecret}}, idempotency.FingerprintConfig{}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			stored := fingerprinter(t, c.before).Sum(spaced, "POST", "/a")
			now := fingerprinter(t, c.after)
			require.Equal(t, c.verbatim, now.Matches(stored, spaced, "POST", "/a"))
			require.Equal(t, c.respelled, now.Matches(stored, dense, "POST", "/a"))
			require.False(t, now.Matches(stored, other, "POST", "/a"))
			require.False(t, now.Matches(stored, spaced, "POST", "/b"))
		})
	}
}

func TestWithoutAFingerprinterAKeyedFingerprintMatchesNothing(t *testing.T) {
	t.Parallel()
	sum := fingerprinter(t, idempotency.FingerprintConfig{Secrets: [][]byte{oldSecret}}).Sum([]byte("a"))
	require.False(t, (*idempotency.Fingerprinter)(nil).Matches(sum, []byte("a")))
}

func TestSecretsAreCheckedAndCopied(t *testing.T) {
	t.Parallel()
	_, err := idempotency.NewFingerprinter(idempotency.FingerprintConfig{Secrets: [][]byte{newSecret, []byte("hunter2-secret!")}})
	require.ErrorContains(t, err, "secret 1 has 15 bytes: use at least 16")
	require.NotContains(t, err.Error(), "hunter2")

	mine := bytes.Clone(oldSecret)
	f := fingerprinter(t, idempotency.FingerprintConfig{Secrets: [][]byte{mine}})
	before := f.Sum([]byte("a"))
	clear(mine)
	require.Equal(t, before, f.Sum([]byte("a")))
}

func TestCanonicalJSONEquatesOnlyWhatEveryDecoderTakesAlike(t *testing.T) {
	t.Parallel()
	f := fingerprinter(t, idempotency.FingerprintConfig{CanonicalJSON: true})
	for _, c := range []struct {
		name, a, b string
		same       bool
	}{
		{"white space", "{\"a\":[1,2]}", " {\n\"a\" :\t[ 1 , 2 ]\r\n} ", true},
		{"order of members", `{"a":1,"b":{"c":2,"d":3}}`, `{"b":{"d":3,"c":2},"a":1}`, true},
		{"an escape", `{"\u0061":"\/"}`, `{"a":"/"}`, true},
		{"order in an array", `[1,2]`, `[2,1]`, false},
		{"a number's spelling", `1`, `1.0`, false},
		{"a number beyond float64", `9007199254740993`, `9007199254740992`, false},
		{"a sign of zero", `0`, `-0`, false},
		{"a number and its text", `1`, `"1"`, false},
		{"null and absent", `{"a":null}`, `{}`, false},
		{"empty object and array", `{}`, `[]`, false},
		{"white space in a string", `"a b"`, `"a  b"`, false},
		{"a member named twice, first", `{"a":1,"a":2}`, `{"a":1}`, false},
		{"a member named twice, last", `{"a":1,"a":2}`, `{"a":2}`, false},
		{"a member named twice, spelled otherwise", `{"a":1,"\u0061":2}`, `{"a":2}`, false},
		{"a member named twice, in white space", `{"a":1,"a":2}`, `{"a":1, "a":2}`, false},
		{"a member named in two cases", `{"a":1,"A":2}`, `{"A":2,"a":1}`, false},
		{"a member named in two cases, deep", `[{"x":{"s":1,"ſ":2}}]`, `[{"x":{"ſ":2,"s":1}}]`, false},
		{"one name in two objects", `[{"a":1},{"a":2}]`, `[{"a":1}, {"a":2}]`, true},
		{"other bytes that are not Unicode", "\"\xff\"", "\"\xfe\"", false},
		{"another lone surrogate", `"\ud800"`, `"\udc00"`, false},
		{"two values", `1 2`, `1  2`, false},
		{"no JSON", `{"a":1`, `{"a": 1`, false},
		{"a comma too many", `[1,]`, `[1, ]`, false},
		{"nothing", ``, ` `, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.same, f.Sum([]byte(c.a)) == f.Sum([]byte(c.b)))
			require.Equal(t, c.same, f.Matches(f.Sum([]byte(c.b)), []byte(c.a)))
		})
	}
}
