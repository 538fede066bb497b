package server_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/examples/payments/psp"
)

func TestACardPaymentIsChargedBookedAndReplayed(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell string) {
		p := startProvider(t)
		s := start(t, shell, withProvider(p))
		paid := s.payByCard(alice, "k-1", byCard("tok_visa"))
		require.Equal(t, 201, paid.status, paid.body)
		require.Equal(t, "application/json", paid.header.Get("Content-Type"))
		require.Empty(t, paid.header.Get("Idempotent-Replayed"))
		payment := paid.json(t)
		require.EqualValues(t, 500, payment["amount"])
		require.Equal(t, "USD", payment["currency"])
		require.Equal(t, "captured", payment["status"])
		require.Equal(t, "/api/v1/card-payments/"+payment["id"].(string), paid.header.Get("Location"))
		require.NotContains(t, paid.body, "tok_")
		require.Equal(t, paid.body, s.get(alice, paid.header.Get("Location")).body, "read and made look the same")
		require.Equal(t, `{"currency":"USD","available":100500}`+"\n", s.get(alice, "/api/v1/balance").body)

		for _, header := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
			again := s.send("POST", "/api/v1/card-payments", alice, byCard("tok_visa"), header, s.key("k-1"))
			require.Equal(t, 201, again.status)
			require.Equal(t, paid.body, again.body)
			require.Equal(t, paid.header.Get("Location"), again.header.Get("Location"))
			require.Equal(t, "true", again.header.Get("Idempotent-Replayed"))
		}
		charge := p.requireCharges(1)[0]
		require.Equal(t, charge.IdempotencyKey, charge.Reference)
		require.EqualValues(t, 1, p.attempts.Load())
		require.NotContains(t, charge.IdempotencyKey, s.key("k-1"), "the client's key is not the provider's business")
		require.EqualValues(t, 1, s.number(`SELECT count(*) FROM card_payments WHERE charge_id = $1`, charge.ID))
		s.requireCaptured(1)
		s.requireBooks(0)

		require.Equal(t, 422, s.payByCard(alice, "k-1", byCard("tok_declined")).status, "the key is another request's")
		require.Equal(t, 201, s.payByCard(bob, "k-1", byCard("tok_visa")).status, "another account's key is another key")
		p.requireCharges(2)
		s.requireCaptured(2)
	})
}

func TestADeclinedCardIsRecordedRefusedAndReplayed(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell string) {
		p := startProvider(t)
		s := start(t, shell, withProvider(p))
		declined := s.payByCard(alice, "k-1", byCard("tok_declined"))
		require.Equal(t, 402, declined.status, declined.body)
		require.Equal(t, "card-declined", declined.code(t))
		require.Equal(t, false, declined.json(t)["retryable"])
		require.Equal(t, "rotate", declined.json(t)["key_action"])

		again := s.payByCard(alice, "k-1", byCard("tok_declined"))
		require.Equal(t, 402, again.status)
		require.Equal(t, declined.body, again.body)
		require.Equal(t, "true", again.header.Get("Idempotent-Replayed"))
		require.Equal(t, declined.header.Get("Location"), again.header.Get("Location"))
		require.EqualValues(t, 1, p.attempts.Load(), "the provider was asked once")
		p.requireCharges(0)

		read := s.get(alice, declined.header.Get("Location"))
		require.Equal(t, 200, read.status, read.body)
		require.Equal(t, "declined", read.json(t)["status"])
		require.Equal(t, "card_declined", read.json(t)["decline_code"])
		require.EqualValues(t, 1, s.number(`SELECT count(*) FROM card_payments`))
		s.requireCaptured(0)
	})
}

func TestACardThatTheProviderDoesNotKnowIsDeclinedToo(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell string) {
		p := startProvider(t)
		s := start(t, shell, withProvider(p))
		declined := s.payByCard(alice, "k-1", byCard("tok_of_nobody"))
		require.Equal(t, 402, declined.status, declined.body)
		require.Equal(t, "unknown_card", s.get(alice, declined.header.Get("Location")).json(t)["decline_code"])
		p.requireCharges(0)
		s.requireCaptured(0)
	})
}

func TestNobodyReadsAnotherAccountsCardPayments(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell string) {
		s := start(t, shell, withProvider(startProvider(t)))
		location := s.payByCard(alice, "k-1", byCard("tok_visa")).header.Get("Location")
		require.Equal(t, 200, s.get(alice, location).status)
		others := s.get(bob, location)
		require.Equal(t, 404, others.status)
		require.Equal(t, others.body, s.get(bob, "/api/v1/card-payments/00000000-0000-7000-8000-000000000000").body,
			"it looks like one that does not exist")
		require.Equal(t, others.body, s.get(bob, "/api/v1/card-payments/not-a-uuid").body)
		require.Equal(t, 401, s.get("", location).status)
		require.Equal(t, 401, s.payByCard("", "k-2", byCard("tok_visa")).status)
		require.Equal(t, "key-missing", s.send("POST", "/api/v1/card-payments", alice, byCard("tok_visa")).code(t))
		require.Equal(t, 405, s.send("DELETE", "/api/v1/card-payments", alice, "").status)
	})
}

func TestABadCardPaymentIsRefusedBeforeTheProviderHearsOfIt(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell string) {
		p := startProvider(t)
		s := start(t, shell, withProvider(p))
		for i, c := range []struct {
			name, body string
			status     int
			code       string
		}{
			{"empty", ``, 400, "malformed-body"},
			{"truncated", `{"amount":500,"currency":"USD","card":"tok_vi`, 400, "malformed-body"},
			{"something after it", byCard("tok_visa") + `{}`, 400, "malformed-body"},
			{"a field of another operation", `{"amount":500,"currency":"USD","card":"tok_visa","reference":"a"}`, 400, "unknown-field"},
			{"a field twice", `{"amount":1,"currency":"USD","card":"tok_visa","amount":500}`, 400, "repeated-field"},
			{"card as number", `{"amount":500,"currency":"USD","card":4242}`, 400, "wrong-type"},
			{"card as null", `{"amount":500,"currency":"USD","card":null}`, 400, "wrong-type"},
			{"no card", `{"amount":500,"currency":"USD"}`, 422, "invalid-card"},
			{"an empty card", byCard(""), 422, "invalid-card"},
			{"a card too long", byCard(strings.Repeat("a", 65)), 422, "invalid-card"},
			{"a card with a dash", byCard("tok-visa"), 422, "invalid-card"},
			{"a card with a line break", byCard("tok_visa\n"), 422, "invalid-card"},
			{"a card in another alphabet", byCard("tok_визa"), 422, "invalid-card"},
			{"no amount", `{"currency":"USD","card":"tok_visa"}`, 422, "invalid-amount"},
			{"zero", `{"amount":0,"currency":"USD","card":"tok_visa"}`, 422, "invalid-amount"},
			{"negative", `{"amount":-500,"currency":"USD","card":"tok_visa"}`, 422, "invalid-amount"},
			{"a fraction", `{"amount":5.5,"currency":"USD","card":"tok_visa"}`, 422, "invalid-amount"},
			{"more than a card takes", `{"amount":100000000,"currency":"USD","card":"tok_visa"}`, 422, "invalid-amount"},
			{"no currency", `{"amount":500,"card":"tok_visa"}`, 422, "unknown-currency"},
			{"another currency than the account's", `{"amount":500,"currency":"EUR","card":"tok_visa"}`, 422, "currency-mismatch"},
		} {
			key := "bad-" + strconv.Itoa(i)
			refused := s.payByCard(alice, key, c.body)
			require.Equal(t, c.status, refused.status, "%s: %s", c.name, refused.body)
			require.Equal(t, c.code, refused.code(t), c.name)
			require.Equal(t, "application/problem+json", refused.header.Get("Content-Type"), c.name)
			require.Empty(t, refused.header.Get("Location"), c.name)
			require.Equal(t, "true", s.payByCard(alice, key, c.body).header.Get("Idempotent-Replayed"), c.name)
		}
		require.Zero(t, p.attempts.Load())
		require.Zero(t, s.number(`SELECT count(*) FROM card_payments`))
		require.Zero(t, s.number(`SELECT count(*) FROM idempotency_keys WHERE state <> 'completed'`))
		longest := strings.Replace(byCard(strings.Repeat("a", 64)), ":500", ":99999999", 1)
		require.Equal(t, "card-declined", s.payByCard(alice, "longest", longest).code(t), "the provider does not know it, but it may")
		s.requireCaptured(0)
	})
}

func TestConcurrentDuplicatesOverTwoServersChargeOnce(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell string) {
		p := startProvider(t, func(c *psp.Config) { c.FailureRate, c.Seed = 0.3, 7 })
		one := start(t, shell, withProvider(p))
		two := start(t, shell, withProvider(p), func(o *options) { o.databaseURL = one.db.Config().ConnString() })
		var paid answer
		for round := 0; paid.status != 201; round++ {
			require.Less(t, round, 20, "the provider does not always fail: %s", paid.body)
			answers, err := sendAll(20, func(i int) (answer, error) {
				return []*service{one, two}[i%2].try("POST", "/api/v1/card-payments", alice, byCard("tok_visa"), "Idempotency-Key", one.key("k-1"))
			})
			require.NoError(t, err)
			for _, a := range answers {
				switch {
				case a.status != 201:
					require.Contains(t, []int{409, 503}, a.status, a.body)
				case paid.status == 201:
					require.Equal(t, paid.body, a.body)
				default:
					paid = a
				}
			}
		}
		p.requireCharges(1)
		one.requireCaptured(1)
		require.EqualValues(t, 100_500, one.number(`SELECT balance FROM accounts WHERE id = 'alice'`))
	})
}

func TestLogsHoldNoCardAndNoKey(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell string) {
		s := start(t, shell, withProvider(startProvider(t)))
		for i, card := range []string{"tok_visa", "tok_declined", "tok_drop", "tok_500_after", "tok_unheard_of"} {
			s.payByCard(alice, "the-secret-key-"+strconv.Itoa(i), byCard(card))
		}
		logs := s.logs.String()
		require.Contains(t, logs, "provider-unavailable")
		require.Contains(t, logs, "it is not known whether the charge was made")
		for _, private := range []string{"tok_", "the-secret-key", "demo_alice", "Bearer"} {
			require.NotContains(t, logs, private)
		}
	})
}
