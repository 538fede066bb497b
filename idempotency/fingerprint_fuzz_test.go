package idempotency_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

func fingerprinter(tb testing.TB, config idempotency.FingerprintConfig) *idempotency.Fingerprinter {
	f, err := idempotency.NewFingerprinter(config)
	require.NoError(tb, err)
	return f
}

func FuzzFingerprint(f *testing.F) {
	for _, seed := range [][6]string{
		{"POST", "/a", "{}", "POST", "/a", "{}"},
		{"POST", "/a", "", "POST/a", "", ""},
		{"POST", "", "/a", "POST", "/a", ""},
		{"a\x00", "b", "", "a", "\x00b", ""},
		{"", "", `{"a":1,"b":[2,3]}`, "", "", ` { "b" : [ 2, 3 ], "a" : 1 } `},
		{"", "", `{"a":1}`, "", "", `{"a":1,"a":2}`},
		{"", "", `{"a":2}`, "", "", `{"a":1,"a":2}`},
		{"", "", `{"a":1,"A":2}`, "", "", `{"A":2,"a":1}`},
		{"", "", `{"a":1}`, "", "", `{"a":1.0}`},
		{"", "", "\"\xff\"", "", "", "\"\xfe\""},
		{"", "", `"\ud800"`, "", "", `"\ud801"`},
		{"", "", `"\ufffd"`, "", "", `"\udfff"`},
		{"", "", `"\u0061"`, "", "", `"a"`},
		{"", "", `"<"`, "", "", `"\u003c"`},
		{"", "", `1 2`, "", "", `1`},
		{"", "", `{"a":[{}]}`, "", "", `{"a":[[]]}`},
		{"", "", `null`, "", "", `"null"`},
		{"", "", `-0`, "", "", `0`},
		{"", "", `{"ſ":1,"s":2}`, "", "", `{"s":2,"ſ":1}`},
	} {
		f.Add(seed[0], seed[1], []byte(seed[2]), seed[3], seed[4], []byte(seed[5]))
	}
	secret := bytes.Repeat([]byte("s"), 16)
	plain := []*idempotency.Fingerprinter{nil, {}, fingerprinter(f, idempotency.FingerprintConfig{Secrets: [][]byte{secret}})}
	canonical := []*idempotency.Fingerprinter{
		fingerprinter(f, idempotency.FingerprintConfig{CanonicalJSON: true}),
		fingerprinter(f, idempotency.FingerprintConfig{CanonicalJSON: true, Secrets: [][]byte{secret}}),
	}
	f.Fuzz(func(t *testing.T, part1, part2 string, body []byte, other1, other2 string, otherBody []byte) {
		equal := part1 == other1 && part2 == other2 && bytes.Equal(body, otherBody)
		for _, f := range plain {
			sum := f.Sum(body, part1, part2)
			require.True(t, f.Matches(sum, body, part1, part2))
			require.Equal(t, equal, sum.Equal(f.Sum(otherBody, other1, other2)))
			require.Equal(t, equal, f.Matches(sum, otherBody, other1, other2))
			require.NotEqual(t, sum, f.Sum(body, part1+part2), "two parts are taken for one")
			require.NotEqual(t, sum, f.Sum(append([]byte(part2), body...), part1), "a part is taken for the body")
			require.NotEqual(t, sum, f.Sum(body, part1, part2, ""), "an empty part is not counted")
		}
		for _, f := range canonical {
			sum := f.Sum(body, part1, part2)
			require.True(t, f.Matches(sum, body, part1, part2))
			require.NotEqual(t, sum, f.Sum(body, part1+part2))
			if sum.Equal(f.Sum(otherBody, other1, other2)) {
				require.Equal(t, [2]string{part1, part2}, [2]string{other1, other2})
				requireSameJSON(t, body, otherBody)
			}
			if respelled, ok := respell(body); ok {
				require.True(t, f.Matches(sum, respelled, part1, part2), "%q and %q are the same", body, respelled)
			}
		}
	})
}

// requireSameJSON fails unless the bodies are the same bytes, or JSON that every decoder takes alike.
func requireSameJSON(t *testing.T, body, other []byte) {
	if bytes.Equal(body, other) {
		return
	}
	message := []any{"%q and %q are taken for the same", body, other}
	a, okA := parse(body)
	b, okB := parse(other)
	require.True(t, okA && okB, message...)
	require.True(t, reflect.DeepEqual(a, b), message...)
	for _, text := range [][]byte{body, other} {
		_, ok := respell(text)
		require.True(t, ok, message...)
	}
}

func parse(body []byte) (value any, ok bool) {
	if !json.Valid(body) {
		return nil, false
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	return value, decoder.Decode(&value) == nil
}

// names counts the members in value.
func names(value any) int {
	n := 0
	switch value := value.(type) {
	case map[string]any:
		for _, inner := range value {
			n += 1 + names(inner)
		}
	case []any:
		for _, inner := range value {
			n += names(inner)
		}
	}
	return n
}

// strip empties the strings of a JSON text, so that a colon in it is the colon of a member.
func strip(text []byte) []byte {
	var stripped []byte
	inside := false
	for i := 0; i < len(text); i++ {
		switch {
		case inside && text[i] == '\\':
			i++
		case text[i] == '"':
			inside = !inside
		case !inside:
			stripped = append(stripped, text[i])
		}
	}
	return stripped
}

// respell writes JSON in another way: with white space, and the members in the opposite order. It knows none for what
// names a member twice, in whatever case, or is not Unicode.
func respell(body []byte) ([]byte, bool) {
	value, ok := parse(body)
	if !ok || names(value) != bytes.Count(strip(body), []byte(":")) || bytes.ContainsRune(body, '\uFFFD') {
		return nil, false
	}
	var text bytes.Buffer
	ok = spell(&text, value)
	return text.Bytes(), ok && !bytes.ContainsRune(text.Bytes(), '\uFFFD')
}

func spell(text *bytes.Buffer, value any) bool {
	switch value := value.(type) {
	case map[string]any:
		var members []string
		for name := range value {
			members = append(members, name)
		}
		slices.Sort(members)
		slices.Reverse(members)
		text.WriteString("\n{")
		for i, name := range members {
			if i > 0 {
				text.WriteByte(',')
			}
			for _, other := range members[:i] {
				if bytes.EqualFold([]byte(name), []byte(other)) {
					return false
				}
			}
			quoted, _ := json.Marshal(name)
			text.Write(append(quoted, " :\t"...))
			if !spell(text, value[name]) {
				return false
			}
		}
		text.WriteString("}\r")
	case []any:
		text.WriteString("[ ")
		for i, inner := range value {
			if i > 0 {
				text.WriteString(" , ")
			}
			if !spell(text, inner) {
				return false
			}
		}
		text.WriteByte(']')
	default:
		plain, _ := json.Marshal(value)
		text.Write(plain)
	}
	return true
}
