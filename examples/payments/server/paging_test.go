package server_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/examples/payments/ledger"
)

func (s *service) page(token string, query string) (page ledger.Page) {
	s.t.Helper()
	got := s.get(token, "/api/v1/payments"+query)
	require.Equal(s.t, 200, got.status, got.body)
	require.NoError(s.t, json.Unmarshal([]byte(got.body), &page))
	return page
}

func TestPagesShowEachPaymentOnceNewestFirst(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell string) {
		s := start(t, shell)
		var made []string
		for i := range 7 {
			paid := s.pay(alice, "k-"+strconv.Itoa(i), fmt.Sprintf(`{"amount":%d,"currency":"USD"}`, i+1))
			require.Equal(t, 201, paid.status)
			made = append(made, paid.json(t)["id"].(string))
		}
		require.Equal(t, 201, s.pay(bob, "k-1", oneDollar).status)
		slices.Sort(made) // ids of one millisecond have no order of their own but this one
		slices.Reverse(made)

		var seen []string
		query := "?limit=3"
		for pages := 1; ; pages++ {
			page := s.page(alice, query)
			for _, payment := range page.Payments {
				seen = append(seen, payment.ID)
			}
			if page.Next == "" {
				require.Equal(t, 3, pages)
				break
			}
			require.Len(t, page.Payments, 3)
			query = "?limit=3&cursor=" + url.QueryEscape(page.Next)
			// A payment made between two pages belongs on the first and shifts nothing.
			require.Equal(t, 201, s.pay(alice, "later-"+strconv.Itoa(pages), oneDollar).status)
		}
		require.Equal(t, made, seen)

		exact := s.page(bob, "?limit=1")
		require.Len(t, exact.Payments, 1)
		require.Empty(t, exact.Next, "a last page that is full has no next")
		require.Len(t, s.page(alice, "").Payments, 9)
	})
}

func TestAWrongPageIsRefused(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell string) {
		s := start(t, shell)
		for query, code := range map[string]string{
			"limit=0": "invalid-limit", "limit=-1": "invalid-limit", "limit=101": "invalid-limit", "limit=x": "invalid-limit",
			"limit=": "invalid-limit", "limit=99999999999999999999": "invalid-limit",
			"cursor=": "invalid-cursor", "cursor=x": "invalid-cursor", "cursor=%00": "invalid-cursor",
			"cursor=%27%3B+DROP+TABLE+payments": "invalid-cursor",
		} {
			refused := s.get(alice, "/api/v1/payments?"+query)
			require.Equal(t, 400, refused.status, query)
			require.Equal(t, code, refused.code(t), query)
		}
	})
}
