package httpidem_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/httpidem"
)

func TestAKeyIsParsed(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("k", 255)
	for value, want := range map[string]string{
		"k1":                                   "k1",
		" \tk1 \t":                             "k1",
		`"k1"`:                                 "k1",
		` "k1" `:                               "k1",
		"123e4567-e89b-12d3-a456-426614174000": "123e4567-e89b-12d3-a456-426614174000",
		"!#$%&'()*+-./:<=>?@[\\]^_`{|}~":       "!#$%&'()*+-./:<=>?@[\\]^_`{|}~",
		`a"`:                                   "", // a quote inside of what is not quoted
		`'k1'`:                                 "'k1'",
		long:                                   long,
		long + "k":                             "",
		`"` + long + `"`:                       long,
		`"` + long + `k"`:                      "",
		`"` + strings.Repeat(`\\`, 255) + `"`:  strings.Repeat(`\`, 255), // 255 bytes once unescaped
		"":                                     "",
		" ":                                    "",
		"k 1":                                  "",
		"k\t1":                                 "",
		"k,1":                                  "",
		"k1, k2":                               "",
		"k1;a=1":                               "",
		"k\x00":                                "",
		"k\x7f":                                "",
		"kü":                                   "",
		"k\xff":                                "",
		"k\r\nX: y":                            "",
		// strings
		`"k 1"`:           "k 1",
		`" k "`:           " k ", // inside of a string, a space counts
		`"k,1;2"`:         "k,1;2",
		`"a\"b"`:          `a"b`,
		`"a\\b"`:          `a\b`,
		`"\"\\\""`:        `"\"`,
		`"a\b"`:           "",
		`"a\`:             "",
		`"a\"`:            "",
		`"`:               "",
		`""`:              "",
		`"  "`:            "",
		`"k1`:             "",
		`"k1"x`:           "",
		`"k1" x`:          "",
		`"k1" "k2"`:       "",
		`"k1","k2"`:       "",
		`"k1", "k2"`:      "",
		"\"k\t1\"":        "",
		"\"k\x00\"":       "",
		"\"k\x7f\"":       "",
		"\"kü\"":          "",
		"\"a\\\"k\x00\"":  "", // after something escaped, too
		"\"a\\\"kü\"":     "",
		"\"a\\\"b\\\tc\"": "",
		// parameters, which are checked and ignored
		`"k";a`:              "k",
		`"k"; a`:             "k",
		`"k";   a`:           "k",
		`"k";a;b;c`:          "k",
		`"k";a=1`:            "k",
		`"k";a=-1.5`:         "k",
		`"k";a=?1`:           "k",
		`"k";a=:aGk=:`:       "k",
		`"k";a=token/x:y`:    "k",
		`"k";a="x;y,z"`:      "k",
		`"k";a="x\"y";b=1`:   "k",
		`"k";*a=1`:           "k",
		`"k";a_-.*9=1`:       "k",
		`"k"; a=1; b="2"`:    "k",
		`"k";`:               "",
		`"k"; `:              "",
		`"k";;a`:             "",
		`"k" ;a`:             "", // no space before the semicolon
		"\"k\";\ta":          "",
		`"k";A`:              "",
		`"k";1a`:             "",
		`"k";-a`:             "",
		`"k";a=`:             "",
		`"k";a= 1`:           "",
		`"k";a =1`:           "",
		`"k";a=1,`:           "",
		`"k";a=1 2`:          "",
		`"k";a="x`:           "",
		`"k";a="x"y`:         "",
		`"k";a="x\y"`:        "",
		`"k";a=ü`:            "",
		`"k";a=(1 2)`:        "",
		"\"k\";a=\"\x00\"":   "",
		`"k";a=1, "k2";b=2`:  "",
		`"k";` + " \x00a":    "",
		"\"k\";a=1\r\nX: y":  "",
		`"k";a="x",b`:        "",
		`"k";ä=1`:            "",
		`"k";a=x\y`:          "",
		`"k";a=1;` + "\x7f":  "",
		`"k";a=1;b="\\";c=2`: "k",
	} {
		key, err := httpidem.ParseKey([]string{value})
		require.Equal(t, want, key, "%q", value)
		if want == "" {
			require.ErrorIs(t, err, idempotency.ErrKeyInvalid, "%q", value)
		} else {
			require.NoError(t, err, "%q", value)
		}
	}
}

func TestThereIsOneKeyOrNone(t *testing.T) {
	t.Parallel()
	for _, none := range [][]string{nil, {}} {
		_, err := httpidem.ParseKey(none)
		require.ErrorIs(t, err, idempotency.ErrKeyMissing)
	}
	for _, several := range [][]string{{"k1", "k2"}, {"k1", "k1"}, {"", "k1"}, {"k1", ""}, {"", ""}} {
		_, err := httpidem.ParseKey(several)
		require.ErrorIs(t, err, idempotency.ErrKeyInvalid, "%q", several)
	}
}

func TestAnEmptyKeyIsInvalidAndNotMissing(t *testing.T) {
	t.Parallel()
	_, err := httpidem.ParseKey([]string{""})
	require.ErrorIs(t, err, idempotency.ErrKeyInvalid, "where keys are optional, the request would run unprotected")
}

func TestValidatorsTakeAndRefuse(t *testing.T) {
	t.Parallel()
	for key, ok := range map[string]bool{
		"123e4567-e89b-12d3-a456-426614174000":   true,
		"123E4567-E89B-12D3-A456-426614174000":   true,
		"00000000-0000-0000-0000-000000000000":   true,
		"123e4567e89b12d3a456426614174000":       false,
		"{123e4567-e89b-12d3-a456-426614174000}": false,
		"123e4567-e89b-12d3-a456-42661417400":    false,
		"123e4567-e89b-12d3-a456-4266141740000":  false,
		"123e4567-e89b-12d3-a456-42661417400g":   false,
		"123e4567-e89b-12d3-a4564-26614174000":   false,
		"":                                       false,
	} {
		err := httpidem.UUIDOnly(key)
		require.Equal(t, ok, err == nil, key)
		if !ok {
			require.ErrorIs(t, err, idempotency.ErrKeyInvalid)
			require.ErrorContains(t, err, "must be a UUID")
		}
	}
	require.NoError(t, httpidem.MinLength(3)("abc"))
	err := httpidem.MinLength(3)("ab")
	require.ErrorIs(t, err, idempotency.ErrKeyInvalid)
	require.ErrorContains(t, err, "at least 3 characters")
}
