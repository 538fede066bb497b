package server_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBadInputIsRefusedClearlyAndHasNoEffect(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, body string
		status     int
		code       string
	}{
		{"empty", ``, 400, "malformed-body"},
		{"not JSON", `amount=100`, 400, "malformed-body"},
		{"truncated", `{"amount":100,"curr`, 400, "malformed-body"},
		{"truncated in a value", `{"amount":100,"currency":"US`, 400, "malformed-body"},
		{"not closed", `{"amount":100,"currency":"USD"`, 400, "malformed-body"},
		{"an array", `[{"amount":100,"currency":"USD"}]`, 400, "malformed-body"},
		{"null", `null`, 400, "malformed-body"},
		{"a key that is no string", `{1:2}`, 400, "malformed-body"},
		{"something after it", `{"amount":100,"currency":"USD"}{"amount":1}`, 400, "malformed-body"},
		{"garbage after it", `{"amount":100,"currency":"USD"} x`, 400, "malformed-body"},
		{"20,000 objects deep", strings.Repeat(`{"amount":`, 20_000), 400, "malformed-body"},
		{"an unknown field", `{"amount":100,"currency":"USD","to":"bob"}`, 400, "unknown-field"},
		{"a field in capitals", `{"AMOUNT":100,"currency":"USD"}`, 400, "unknown-field"},
		{"a field twice", `{"amount":1,"currency":"USD","amount":100}`, 400, "repeated-field"},
		{"amount as string", `{"amount":"100","currency":"USD"}`, 400, "wrong-type"},
		{"amount as bool", `{"amount":true,"currency":"USD"}`, 400, "wrong-type"},
		{"amount as null", `{"amount":null,"currency":"USD"}`, 400, "wrong-type"},
		{"amount as object", `{"amount":{"value":1},"currency":"USD"}`, 400, "wrong-type"},
		{"currency as number", `{"amount":100,"currency":840}`, 400, "wrong-type"},
		{"currency as null", `{"amount":100,"currency":null}`, 400, "wrong-type"},
		{"reference as array", `{"amount":100,"currency":"USD","reference":["a"]}`, 400, "wrong-type"},

		{"no amount", `{"currency":"USD"}`, 422, "invalid-amount"},
		{"zero", `{"amount":0,"currency":"USD"}`, 422, "invalid-amount"},
		{"minus zero", `{"amount":-0,"currency":"USD"}`, 422, "invalid-amount"},
		{"negative", `{"amount":-100,"currency":"USD"}`, 422, "invalid-amount"},
		{"float", `{"amount":1.5,"currency":"USD"}`, 422, "invalid-amount"},
		{"a float that is whole", `{"amount":100.0,"currency":"USD"}`, 422, "invalid-amount"},
		{"exponent", `{"amount":1e2,"currency":"USD"}`, 422, "invalid-amount"},
		{"one more than int64", `{"amount":9223372036854775808,"currency":"USD"}`, 422, "invalid-amount"},
		{"much more than int64", `{"amount":` + strings.Repeat("9", 500) + `,"currency":"USD"}`, 422, "invalid-amount"},
		{"less than int64", `{"amount":-9223372036854775809,"currency":"USD"}`, 422, "invalid-amount"},
		{"no currency", `{"amount":100}`, 422, "unknown-currency"},
		{"a currency that is none", `{"amount":100,"currency":"ZZZ"}`, 422, "unknown-currency"},
		{"a currency that was", `{"amount":100,"currency":"DEM"}`, 422, "unknown-currency"},
		{"a currency in lower case", `{"amount":100,"currency":"usd"}`, 422, "unknown-currency"},
		{"gold", `{"amount":100,"currency":"XAU"}`, 422, "unknown-currency"},
		{"another currency than the account's", `{"amount":100,"currency":"EUR"}`, 422, "currency-mismatch"},
		{"a reference too long", `{"amount":100,"currency":"USD","reference":"` + strings.Repeat("ä", 141) + `"}`, 422, "invalid-reference"},
		{"NUL in the reference", `{"amount":100,"currency":"USD","reference":"a\u0000b"}`, 422, "invalid-reference"},
		{"a line break in the reference", `{"amount":100,"currency":"USD","reference":"a\nb"}`, 422, "invalid-reference"},
		{"broken UTF-8 in the reference", `{"amount":100,"currency":"USD","reference":"` + "\xff" + `"}`, 422, "invalid-reference"},

		{"more than there is", `{"amount":100001,"currency":"USD"}`, 402, "insufficient-funds"},
		{"the most that int64 holds", `{"amount":9223372036854775807,"currency":"USD"}`, 402, "insufficient-funds"},
		{"8 MiB", `{"amount":100,"currency":"USD","reference":"` + strings.Repeat("a", 8<<20) + `"}`, 413, "request-too-large"},
	}
	eachShell(t, func(t *testing.T, shell string) {
		s := start(t, shell)
		for i, c := range cases {
			refused := s.pay(alice, "bad-"+strconv.Itoa(i), c.body)
			require.Equal(t, c.status, refused.status, "%s: %s", c.name, refused.body)
			require.Equal(t, c.code, refused.code(t), c.name)
			require.EqualValues(t, c.status, refused.json(t)["status"], c.name)
			require.Equal(t, "application/problem+json", refused.header.Get("Content-Type"), c.name)
			require.NotEmpty(t, refused.json(t)["detail"], c.name)
		}
		s.requireBooks(0)
		require.Equal(t, 201, s.pay(alice, "good-1", `{"amount":1,"currency":"USD","reference":"`+strings.Repeat("ä", 140)+`"}`).status)
		require.Equal(t, 201, s.pay(alice, "good-2", " {\"currency\" : \"USD\",\n \"amount\" : 99999} \n").status, "the whole balance")
		s.requireBooks(2)
	})
}

func TestWhereThereIsNoRouteTheAnswerIsAProblemToo(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell string) {
		s := start(t, shell)
		for _, path := range []string{"/", "/api/v1/nothing", "/api/v2/payments"} {
			lost := s.get(alice, path)
			require.Equal(t, 404, lost.status, path)
			require.Equal(t, "route-not-found", lost.code(t), path)
		}
		wrong := s.send("DELETE", "/api/v1/payments", alice, "")
		require.Equal(t, 405, wrong.status)
		require.Equal(t, "method-not-allowed", wrong.code(t))
		require.Contains(t, wrong.header.Get("Allow"), "POST")
		require.Contains(t, wrong.header.Get("Allow"), "GET")
	})
}
