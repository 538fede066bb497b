package seal_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/idempotency/seal"
)

var _ idempotency.Sealer = (*seal.Box)(nil)

// key returns a key that is not random, so that tests can name it.
func key(c byte) []byte { return bytes.Repeat([]byte{c}, seal.KeySize) }

func boxOf(t testing.TB, ids ...string) *seal.Box {
	t.Helper()
	config := seal.Config{Current: ids[0], Keys: map[string][]byte{}}
	for _, id := range ids {
		config.Keys[id] = key(id[0])
	}
	box, err := seal.New(config)
	require.NoError(t, err)
	return box
}

func sealed(t testing.TB, box *seal.Box, plain, bound string) []byte {
	t.Helper()
	text, err := box.Seal([]byte(plain), []byte(bound))
	require.NoError(t, err)
	return text
}

func TestWhatIsSealedOpensForWhatItIsBoundToAndNothingElse(t *testing.T) {
	t.Parallel()
	box := boxOf(t, "a")
	for _, plain := range []string{"", "x", "4242424242424242", strings.Repeat("long ", 10_000)} {
		text := sealed(t, box, plain, "alice/payment-1")
		require.Len(t, text, len("\x01\x01a")+12+len(plain)+16)
		if len(plain) > 1 {
			require.NotContains(t, string(text), plain)
		}
		got, err := box.Open(text, []byte("alice/payment-1"))
		require.NoError(t, err)
		require.Equal(t, plain, string(got))
		for _, bound := range []string{"", "alice/payment-2", "alice/payment-1\x00", "alice/payment-"} {
			_, err := box.Open(text, []byte(bound))
			require.ErrorIs(t, err, seal.ErrNotAuthentic)
		}
	}
}

func TestAnyFlippedBitAndAnyTruncationIsFound(t *testing.T) {
	t.Parallel()
	box := boxOf(t, "a", "b", "c", "`") // to which one bit leads from a
	text := sealed(t, box, "secret", "bound")
	for i := range len(text) * 8 {
		damaged := bytes.Clone(text)
		damaged[i/8] ^= 1 << (i % 8)
		_, err := box.Open(damaged, []byte("bound"))
		require.Error(t, err, "bit %d", i)
	}
	for length := range len(text) {
		_, err := box.Open(text[:length], []byte("bound"))
		require.Error(t, err, "the first %d bytes", length)
		_, err = box.Open(text[length+1:], []byte("bound"))
		require.Error(t, err, "from byte %d", length+1)
	}
	_, err := box.Open(append(bytes.Clone(text), 0), []byte("bound"))
	require.Error(t, err, "a byte more")
	for length := range 256 {
		_, err := box.Open(append([]byte{1, byte(length)}, strings.Repeat("a", 400)...), []byte("bound"))
		require.Error(t, err, "an id of %d bytes", length)
		_, err = box.Open(append([]byte{1, byte(length)}, strings.Repeat("\n", 400)...), []byte("bound"))
		require.ErrorIs(t, err, seal.ErrNotAuthentic, "what is no id is not shown")
	}
}

// What is in front of bound in the tag ends by itself: no text can give a part of its id to what it is bound to.
func TestTheIdOfAKeyDoesNotRunIntoTheBound(t *testing.T) {
	t.Parallel()
	box, err := seal.New(seal.Config{Current: "ab", Keys: map[string][]byte{"ab": key('x'), "a": key('y')}})
	require.NoError(t, err)
	other, err := seal.New(seal.Config{Current: "a", Keys: map[string][]byte{"a": key('x')}})
	require.NoError(t, err)
	text := sealed(t, box, "secret", "bound")
	shorter := append([]byte{1, 1, 'a'}, text[4:]...)
	_, err = other.Open(shorter, []byte("bbound"))
	require.ErrorIs(t, err, seal.ErrNotAuthentic)
}

// kept is "secret", sealed for "bound" by the key aaaa…: what was stored once must open for ever.
var kept, _ = hex.DecodeString("0101616ee0a357413bae93991b48c12cc1eb806b67b8003c7bc19d71f9ff92a72f4c6a74a0")

// keptForPayments is the same, in the context "payments".
var keptForPayments, _ = hex.DecodeString("010161c9ee54682ca069f869e2654a7c654945a1ecee3a4411466f5f3ca9f878a6c81e1a7a")

func TestWhatAnEarlierVersionHasSealedOpens(t *testing.T) {
	t.Parallel()
	plain, err := boxOf(t, "b", "a").Open(kept, []byte("bound"))
	require.NoError(t, err)
	require.Equal(t, "secret", string(plain))
}

func TestTheSameIsNeverSealedTheSame(t *testing.T) {
	t.Parallel()
	box := boxOf(t, "a")
	seen := map[string]bool{}
	for range 1000 {
		seen[string(sealed(t, box, "secret", "bound")[:15])] = true // as far as the nonce
	}
	require.Len(t, seen, 1000)
}

func TestKeysAreRotatedByTheirIds(t *testing.T) {
	t.Parallel()
	before, during, after := boxOf(t, "old"), boxOf(t, "new", "old"), boxOf(t, "new")
	first, second := sealed(t, before, "first", "bound"), sealed(t, during, "second", "bound")
	for _, text := range [][]byte{first, second} {
		_, err := during.Open(text, []byte("bound"))
		require.NoError(t, err)
	}
	_, err := after.Open(second, []byte("bound"))
	require.NoError(t, err, "the current key seals")
	_, err = after.Open(first, []byte("bound"))
	require.ErrorIs(t, err, seal.ErrKeyUnknown)
	require.EqualError(t, err, `seal: the key that sealed it is not there: give key "old" back to seal.Config.Keys`)

	wrong, err := seal.New(seal.Config{Current: "old", Keys: map[string][]byte{"old": key('z')}})
	require.NoError(t, err)
	_, err = wrong.Open(first, []byte("bound"))
	require.ErrorIs(t, err, seal.ErrNotAuthentic)
	require.ErrorContains(t, err, `"old" is not the key any more`)
}

func TestKeysThatCannotWorkAreRefusedAndNotShown(t *testing.T) {
	t.Parallel()
	good := key('k')
	for _, c := range []struct {
		current string
		keys    map[string][]byte
		says    string
	}{
		{"", nil, "Config.Current names none"},
		{"", map[string][]byte{"a": good}, "Config.Current names none"},
		{"b", map[string][]byte{"a": good}, "Config.Current names none"},
		{"a", map[string][]byte{"a": good[:16]}, `key "a" has 16 bytes: give 32`},
		{"a", map[string][]byte{"a": append(key('k'), 'k')}, `key "a" has 33 bytes`},
		{"a", map[string][]byte{"a": nil}, `key "a" has 0 bytes`},
		{"a", map[string][]byte{"a": make([]byte, 32)}, `key "a" is all zeros`},
		{"a", map[string][]byte{"a": good, "b": good}, `keys "a" and "b" are the same`},
		{"", map[string][]byte{"": good}, "the id of a key"},
		{"a b", map[string][]byte{"a b": good}, "the id of a key"},
		{"ä", map[string][]byte{"ä": good}, "the id of a key"},
		{"a", map[string][]byte{"a": good, strings.Repeat("i", 65): key('l')}, "the id of a key"},
		{"a", map[string][]byte{"a": good, strings.Repeat("6b", 32): []byte("a")}, "looks like a key itself"},
		{strings.Repeat("a2tr", 10) + "a2s=", map[string][]byte{strings.Repeat("a2tr", 10) + "a2s=": key('l')}, "looks like a key itself"},
	} {
		_, err := seal.New(seal.Config{Current: c.current, Keys: c.keys})
		require.ErrorContains(t, err, c.says)
		for _, written := range []string{"kkkk", "a2tr", "6b6b"} {
			require.NotContains(t, err.Error(), written)
		}
	}
	id := strings.Repeat("~", 64)
	box, err := seal.New(seal.Config{Current: id, Keys: map[string][]byte{id: good}})
	require.NoError(t, err)
	plain, err := box.Open(sealed(t, box, "secret", "bound"), []byte("bound"))
	require.NoError(t, err)
	require.Equal(t, "secret", string(plain))
}

func TestABoxKeepsNoReferenceAndShowsNoKey(t *testing.T) {
	t.Parallel()
	config := seal.Config{Current: "a", Keys: map[string][]byte{"a": key('k')}}
	box, err := seal.New(config)
	require.NoError(t, err)
	text := sealed(t, box, "secret", "bound")
	clear(config.Keys["a"])
	clear(config.Keys)
	_, err = box.Open(text, []byte("bound"))
	require.NoError(t, err)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x"} {
		shown := fmt.Sprintf(verb, box)
		for _, secret := range []string{"kkk", "6b6b", "0x6b", "107 107"} {
			require.NotContains(t, shown, secret, verb)
		}
	}
}

func TestKeysAreReadFromOneVariable(t *testing.T) {
	t.Parallel()
	text := func(id string, c byte) string { return id + ":" + base64.StdEncoding.EncodeToString(key(c)) }
	config, err := seal.ParseKeys(text("2026:11", 'n') + ", " + text("2026:05", 'o'))
	require.NoError(t, err)
	require.Equal(t, seal.Config{Current: "2026:11", Keys: map[string][]byte{"2026:11": key('n'), "2026:05": key('o')}}, config)
	secret := base64.StdEncoding.EncodeToString(key('s'))
	for wrong, says := range map[string]string{
		"":                                    "entry 1 of the keys",
		secret:                                "entry 1 of the keys",
		":" + secret:                          "entry 1 of the keys",
		text("a", 's') + ",":                  "entry 2 of the keys",
		text("a", 's') + "," + secret:         "entry 2 of the keys",
		text("a", 's') + "," + text("a", 't'): `key "a" is there twice`,
		text("a", 's') + "," + text("b", 's'): "are the same",
		"a:" + secret[1:]:                     "the key of entry 1 is not base64",
		"a:c2hvcnQ=":                          "the key of entry 1 has 5 bytes",
		secret + ":2026-11":                   "entry 1 of the keys has what looks like a key in the place of the id",
		secret[:43] + ":2026-11":              "looks like a key in the place of the id",
		hex.EncodeToString(key('s')) + ":a":   "looks like a key in the place of the id",
		secret[1:] + ":2026-11":               "the key of entry 1 is not base64",
		"a:" + secret + ":2026":               "the key of entry 1 has 3 bytes",
		text("a", 's') + ",a:" + secret[4:]:   "the key of entry 2 has 29 bytes",
	} {
		_, err := seal.ParseKeys(wrong)
		require.ErrorContains(t, err, says)
		require.NotContains(t, err.Error(), secret[1:20])
		require.NotContains(t, err.Error(), "737373")
	}
}

func TestAConfigIsShownByTheIdsOfItsKeys(t *testing.T) {
	t.Parallel()
	swapped := base64.StdEncoding.EncodeToString(key('k'))
	config := seal.Config{Current: swapped, Keys: map[string][]byte{"b": key('k'), "a": key('k'), swapped: []byte("2026-11"), "no id": key('k')}}
	const want = `seal.Config(current ?, keys "a" ? "b" ?)`
	require.Equal(t, want, config.String())
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x", "%q"} {
		require.Equal(t, want, fmt.Sprintf(verb, config), verb)
		require.Contains(t, fmt.Sprintf(verb, struct{ Seal seal.Config }{config}), want, verb)
	}
	for _, handler := range []func(w *bytes.Buffer) slog.Handler{
		func(w *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(w, nil) },
		func(w *bytes.Buffer) slog.Handler { return slog.NewTextHandler(w, nil) },
	} {
		var log bytes.Buffer
		slog.New(handler(&log)).Info("starting", "seal", config)
		require.Contains(t, log.String(), "keys")
		require.NotContains(t, log.String(), swapped[:12])
	}
}

func TestWhatIsSealedInOneContextDoesNotOpenInAnother(t *testing.T) {
	t.Parallel()
	in := func(context string) *seal.Box {
		box, err := seal.New(seal.Config{Current: "a", Keys: map[string][]byte{"a": key('a')}, Context: context})
		require.NoError(t, err)
		return box
	}
	contexts := []string{"", "payments", "refunds", "payment"}
	for _, from := range contexts {
		text := sealed(t, in(from), "secret", "bound")
		for _, to := range contexts {
			plain, err := in(to).Open(text, []byte("bound"))
			if from == to {
				require.NoError(t, err)
				require.Equal(t, "secret", string(plain))
				continue
			}
			require.ErrorIs(t, err, seal.ErrNotAuthentic, "from %q to %q", from, to)
			require.ErrorContains(t, err, "seal.Config.Context is another")
		}
	}
	plain, err := in("payments").Open(keptForPayments, []byte("bound"))
	require.NoError(t, err)
	require.Equal(t, "secret", string(plain))
}

func FuzzOpenTakesWhatWasSealedAndNothingElse(f *testing.F) {
	box := boxOf(f, "a", "b")
	f.Add([]byte{}, []byte("bound"))
	f.Add(kept, []byte("bound"))
	f.Add(kept[:len(kept)-1], []byte("bound"))
	f.Add([]byte{1, 255, 'a'}, []byte(""))
	f.Add([]byte("\x01\x00aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), []byte(""))
	f.Fuzz(func(t *testing.T, data, bound []byte) {
		if plain, err := box.Open(data, bound); err == nil && (!bytes.Equal(data, kept) || string(bound) != "bound" || string(plain) != "secret") {
			t.Fatalf("forged: %x opens for %x", data, bound)
		}
		again, err := box.Seal(data, bound)
		require.NoError(t, err)
		plain, err := box.Open(again, bound)
		require.NoError(t, err)
		require.True(t, bytes.Equal(data, plain))
		if len(bound) > 0 {
			changed := bytes.Clone(bound)
			changed[len(changed)/2] ^= 1
			_, err = box.Open(again, changed)
			require.ErrorIs(t, err, seal.ErrNotAuthentic)
		}
	})
}
