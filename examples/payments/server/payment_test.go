package server_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const oneDollar = `{"amount":100,"currency":"USD","reference":"Invoice 4711"}`

func TestAPaymentMovesMoneyAndCanBeRead(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell string) {
		s := start(t, shell)
		require.Equal(t, `{"currency":"USD","available":100000}`+"\n", s.get(alice, "/api/v1/balance").body)

		paid := s.pay(alice, "k-1", oneDollar)
		require.Equal(t, 201, paid.status, paid.body)
		require.Equal(t, "application/json", paid.header.Get("Content-Type"))
		require.Empty(t, paid.header.Get("Idempotent-Replayed"))
		payment := paid.json(t)
		require.EqualValues(t, 100, payment["amount"])
		require.Equal(t, "USD", payment["currency"])
		require.Equal(t, "Invoice 4711", payment["reference"])
		require.Equal(t, "/api/v1/payments/"+payment["id"].(string), paid.header.Get("Location"))

		require.Equal(t, paid.body, s.get(alice, paid.header.Get("Location")).body, "read and made look the same")
		require.Equal(t, `{"currency":"USD","available":99900}`+"\n", s.get(alice, "/api/v1/balance").body)
		require.Equal(t, `{"currency":"USD","available":50000}`+"\n", s.get(bob, "/api/v1/balance").body)
		s.requireBooks(1)
	})
}

func TestARetryGetsTheSameBytesAndPaysNothing(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell string) {
		s := start(t, shell)
		first := s.pay(alice, "k-1", oneDollar)
		require.Equal(t, 201, first.status, first.body)
		for _, header := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
			for _, key := range []string{s.key("k-1"), `"` + s.key("k-1") + `"`} {
				again := s.send("POST", "/api/v1/payments", alice, oneDollar, header, key)
				require.Equal(t, 201, again.status, "%s: %s", header, key)
				require.Equal(t, first.body, again.body)
				require.Equal(t, first.header.Get("Location"), again.header.Get("Location"))
				require.Equal(t, "true", again.header.Get("Idempotent-Replayed"))
			}
		}
		s.requireBooks(1)
	})
}

func TestARefusalIsKeptEvenWhenMoneyArrives(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell string) {
		s := start(t, shell)
		const tooMuch = `{"amount":50001,"currency":"USD"}`
		first := s.pay(bob, "k-1", tooMuch)
		require.Equal(t, 402, first.status, first.body)
		require.Equal(t, "application/problem+json", first.header.Get("Content-Type"))
		require.Equal(t, "insufficient-funds", first.code(t))
		require.Equal(t, "rotate", first.json(t)["key_action"])
		require.Empty(t, first.header.Get("Idempotent-Replayed"))

		_, err := s.db.Exec(t.Context(), `WITH given AS (UPDATE accounts SET balance = balance + 1 WHERE id = 'bob')
			INSERT INTO ledger_entries (account_id, amount, currency) VALUES ('bob', 1, 'USD'), ('house:funding:USD', -1, 'USD')`)
		require.NoError(t, err)
		again := s.pay(bob, "k-1", tooMuch)
		require.Equal(t, 402, again.status)
		require.Equal(t, first.body, again.body)
		require.Equal(t, "true", again.header.Get("Idempotent-Replayed"))
		s.requireBooks(0)

		require.Equal(t, 201, s.pay(bob, "k-2", tooMuch).status, "a new key is a new operation")
		s.requireBooks(1)
		require.Zero(t, s.number(`SELECT balance FROM accounts WHERE id = 'bob'`))
	})
}

func TestAKeyBelongsToOneRequestOfOneAccount(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell string) {
		s := start(t, shell)
		require.Equal(t, 201, s.pay(alice, "k-1", oneDollar).status)

		reused := s.pay(alice, "k-1", `{"amount":999,"currency":"USD"}`)
		require.Equal(t, 422, reused.status)
		require.Equal(t, "key-reused", reused.code(t))

		others := s.pay(bob, "k-1", oneDollar)
		require.Equal(t, 201, others.status, "another account's key is another key")
		require.Empty(t, others.header.Get("Idempotent-Replayed"))
		s.requireBooks(2)
	})
}

func TestAPaymentNeedsAKey(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell string) {
		s := start(t, shell)
		missing := s.send("POST", "/api/v1/payments", alice, oneDollar)
		require.Equal(t, 400, missing.status)
		require.Equal(t, "key-missing", missing.code(t))

		both := s.send("POST", "/api/v1/payments", alice, oneDollar, "Idempotency-Key", "a", "X-Idempotency-Key", "b")
		require.Equal(t, 400, both.status)
		require.Equal(t, "key-invalid", both.code(t))
		s.requireBooks(0)
	})
}

func TestNobodyReadsAnotherAccountsPayments(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell string) {
		s := start(t, shell)
		location := s.pay(alice, "k-1", oneDollar).header.Get("Location")
		require.Equal(t, 200, s.get(alice, location).status)

		others := s.get(bob, location)
		require.Equal(t, 404, others.status)
		require.Equal(t, s.get(bob, "/api/v1/payments/00000000-0000-7000-8000-000000000000").body, others.body,
			"it looks like one that does not exist")
		require.Equal(t, others.body, s.get(bob, "/api/v1/payments/not-a-uuid").body)
		require.Equal(t, `{"payments":[]}`+"\n", s.get(bob, "/api/v1/payments").body)
	})
}

func TestWithoutAKnownTokenNothingHappens(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell string) {
		s := start(t, shell)
		for _, token := range []string{"", "demo_mallory", "demo_alice2", "alice"} {
			refused := s.pay(token, "k-1", oneDollar)
			require.Equal(t, 401, refused.status, "%q", token)
			require.Equal(t, "unauthenticated", refused.code(t))
			require.Equal(t, `Bearer realm="payments"`, refused.header.Get("WWW-Authenticate"))
			require.Equal(t, 401, s.get(token, "/api/v1/balance").status)
		}
		twice := s.send("GET", "/api/v1/balance", alice, "", "Authorization", "Bearer demo_bob")
		require.Equal(t, 401, twice.status, "two tokens are none")
		require.Equal(t, 200, s.send("GET", "/api/v1/balance", "", "", "Authorization", "bearer demo_alice").status)
		require.Equal(t, 201, s.pay(alice, "k-1", oneDollar).status, "a 401 does not use the key")
		s.requireBooks(1)
	})
}
