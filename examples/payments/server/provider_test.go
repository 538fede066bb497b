package server_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/examples/payments/psp"
)

// provider is a card payment provider on the other side of a network.
type provider struct {
	t   *testing.T
	url string
	// attempts counts the charges that it was asked for, whatever came of them.
	attempts atomic.Int64
	client   *psp.Client
}

func startProvider(t *testing.T, change ...func(*psp.Config)) *provider {
	t.Helper()
	var config psp.Config
	for _, c := range change {
		c(&config)
	}
	p := &provider{t: t}
	server := psp.NewServer(config)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			p.attempts.Add(1)
		}
		server.ServeHTTP(w, r)
	}))
	t.Cleanup(web.CloseClientConnections)
	p.url, p.client = web.URL, psp.NewClient(web.URL, nil)
	return p
}

func withProvider(p *provider) func(*options) {
	return func(o *options) { o.config.PSPURL = p.url; o.provider = true }
}

// requireCharges checks what the provider has really taken, and returns it.
func (p *provider) requireCharges(n int) []psp.RecordedCharge {
	p.t.Helper()
	charges, err := p.client.List(p.t.Context())
	require.NoError(p.t, err)
	require.Len(p.t, charges, n, "charges at the provider")
	return charges
}

func byCard(card string) string {
	return fmt.Sprintf(`{"amount":500,"currency":"USD","card":%q}`, card)
}

func (s *service) payByCard(token, key, body string) answer {
	s.t.Helper()
	return s.send("POST", "/api/v1/card-payments", token, body, "Idempotency-Key", s.key(key))
}

// requireCaptured checks how many card payments were captured, each with a debit and a credit that sum to zero and with one
// receipt, and that the whole ledger balances.
func (s *service) requireCaptured(n int) {
	s.t.Helper()
	require.EqualValues(s.t, n, s.number(`SELECT count(*) FROM card_payments WHERE status = 'captured'`), "captured")
	require.EqualValues(s.t, 2*n, s.number(`SELECT count(*) FROM ledger_entries WHERE card_payment_id IS NOT NULL`), "entries")
	require.Zero(s.t, s.number(`SELECT count(*) FROM (
		SELECT 1 FROM card_payments p LEFT JOIN ledger_entries e ON e.card_payment_id = p.id WHERE p.status = 'captured' GROUP BY p.id, p.amount
		HAVING count(*) <> 2 OR sum(e.amount) <> 0 OR max(e.amount) <> p.amount) wrong`), "captures without a debit and a credit")
	require.EqualValues(s.t, n, s.number(`SELECT count(DISTINCT card_payment_id) FROM receipts`), "payments with a receipt")
	require.EqualValues(s.t, n, s.number(`SELECT count(*) FROM receipts`), "receipts")
	s.requireBalance()
}
