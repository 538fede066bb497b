package cards_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/examples/payments/cards"
	"github.com/onlyonce/onlyonce/examples/payments/ledger"
	"github.com/onlyonce/onlyonce/examples/payments/psp"
)

var payment = ledger.CardPayment{ID: "p-1", Amount: 500, Currency: "USD"}

const (
	noCharge    = `{"charges":[]}`
	itsCharge   = `{"charges":[{"id":"ch_1","amount":500,"currency":"USD","status":"succeeded","reference":"k-1","idempotency_key":"k-1"}]}`
	otherAmount = `{"charges":[{"id":"ch_1","amount":501,"currency":"USD","status":"succeeded","reference":"k-1","idempotency_key":"k-1"}]}`
)

func TestWhatAProviderAnswersIsAVerdictOnlyWhereItIsFinal(t *testing.T) {
	t.Parallel()
	unknown, rejected := func(err error) bool { return isA[*psp.Unknown](err) }, func(err error) bool { return isA[*psp.Rejected](err) }
	charge := func(amount int, currency, reference string) string {
		return fmt.Sprintf(`{"id":"ch_1","amount":%d,"currency":%q,"status":"succeeded","reference":%q}`, amount, currency, reference)
	}
	for name, c := range map[string]struct {
		status  int
		answer  string
		look    string // what the list of charges has
		charged string
		decline string
		fails   func(error) bool
	}{
		"charged":                           {201, charge(500, "USD", "k-1"), "", "ch_1", "", nil},
		"another amount was charged":        {201, charge(5, "USD", "k-1"), "", "", "", unknown},
		"another currency was charged":      {201, charge(500, "EUR", "k-1"), "", "", "", unknown},
		"another payment was charged for":   {201, charge(500, "USD", "k-2"), "", "", "", unknown},
		"declined":                          {402, `{"code":"card_declined"}`, "", "", "card_declined", nil},
		"rejected":                          {422, `{"code":"unknown_card"}`, noCharge, "", "unknown_card", nil},
		"rejected, but charged before":      {422, `{"code":"unknown_card"}`, itsCharge, "ch_1", "", nil},
		"rejected, and not to be looked up": {422, `{"code":"unknown_card"}`, `?`, "", "", unknown},
		"rejected, and something else was":  {422, `{"code":"unknown_card"}`, otherAmount, "", "", unknown},
		"the key is another charge's":       {422, `{"code":"key_reused"}`, noCharge, "", "", rejected},
		"our credentials are wrong":         {401, `{"code":"unauthenticated"}`, noCharge, "", "", rejected},
		"a rate limit":                      {429, `{}`, noCharge, "", "", unknown},
		"an error":                          {500, `{}`, noCharge, "", "", unknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet {
					_, _ = fmt.Fprint(w, c.look)
					return
				}
				w.WriteHeader(c.status)
				_, _ = fmt.Fprint(w, c.answer)
			}))
			t.Cleanup(web.Close)
			charged, decline, err := cards.NewTerminal(psp.NewClient(web.URL, nil), 0).Charge(t.Context(), "k-1", payment, "tok_visa")
			if c.fails == nil {
				require.NoError(t, err)
			} else {
				require.True(t, c.fails(err), "%T %v", err, err)
			}
			require.Equal(t, c.charged, charged)
			require.Equal(t, c.decline, decline)
		})
	}
}

func TestAProviderThatHangsIsLeftAfterTheTimeout(t *testing.T) {
	t.Parallel()
	web := httptest.NewServer(psp.NewServer(psp.Config{}))
	t.Cleanup(web.Close)
	_, _, err := cards.NewTerminal(psp.NewClient(web.URL, nil), 10*time.Millisecond).Charge(t.Context(), "k-1", payment, "tok_hang")
	require.True(t, isA[*psp.Unknown](err))
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func isA[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}
