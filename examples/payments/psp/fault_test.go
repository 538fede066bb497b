package psp_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/examples/payments/psp"
)

// hijackable is a recorder that notices that its connection is closed.
type hijackable struct {
	*httptest.ResponseRecorder
	closed *bool
}

func (h hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	ours, theirs := net.Pipe()
	_ = theirs.Close()
	return closing{ours, h.closed}, nil, nil
}

type closing struct {
	net.Conn
	closed *bool
}

func (c closing) Close() error {
	*c.closed = true
	return c.Conn.Close()
}

func listOf(t *testing.T, server *psp.Server) []psp.RecordedCharge {
	t.Helper()
	w := httptest.NewRecorder()
	server.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/charges", nil))
	require.Equal(t, 200, w.Code)
	var list map[string][]psp.RecordedCharge
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &list))
	return list["charges"]
}

// The status 0 stands for a connection that is closed without a reply.
func TestAFaultMeetsTheFirstRequestsOfEachKeyAndTheChargeIsMadeOnce(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		card string
		// answers and charges are those after each request with one key.
		answers []int
		charges []int
	}{
		{"tok_visa", []int{201, 201, 201, 201}, []int{1, 1, 1, 1}},
		{"tok_declined", []int{402, 402, 402, 402}, []int{0, 0, 0, 0}},
		{"tok_500_before", []int{500, 500, 500, 500}, []int{0, 0, 0, 0}},
		{"tok_500_before_x1", []int{500, 201, 201, 201}, []int{0, 1, 1, 1}},
		{"tok_500_before_x2", []int{500, 500, 201, 201}, []int{0, 0, 1, 1}},
		{"tok_500_after", []int{500, 500, 500, 500}, []int{1, 1, 1, 1}},
		{"tok_500_after_x2", []int{500, 500, 201, 201}, []int{1, 1, 1, 1}},
		{"tok_drop", []int{0, 0, 0, 0}, []int{1, 1, 1, 1}},
		{"tok_drop_x2", []int{0, 0, 201, 201}, []int{1, 1, 1, 1}},
		{"tok_hang", []int{0, 0, 0, 0}, []int{0, 0, 0, 0}},
		{"tok_hang_x2", []int{0, 0, 201, 201}, []int{0, 0, 1, 1}},
		{"tok_slow", []int{201, 201, 201, 201}, []int{1, 1, 1, 1}},
		{"tok_slow_x2", []int{201, 201, 201, 201}, []int{1, 1, 1, 1}},
	} {
		t.Run(c.card, func(t *testing.T) {
			t.Parallel()
			p := start(t, psp.Config{Slow: 1, MaxHang: 1})
			for _, key := range []string{"k-1", "k-2"} {
				var ids []string
				for i, status := range c.answers {
					a, err := p.send(t.Context(), key, bodyOf(payBy(c.card)))
					if status == 0 {
						require.Error(t, err)
					} else {
						require.NoError(t, err)
					}
					require.Equal(t, status, a.status, "request %d: %s", i+1, a.body)
					made := p.charges("?idempotency_key=" + key)
					require.Len(t, made, c.charges[i], "after request %d", i+1)
					for _, charge := range made {
						ids = append(ids, charge.ID)
						require.Equal(t, ids[0], charge.ID)
					}
					if a.status == 201 {
						require.Contains(t, a.body, ids[0], "the answer is the charge that was made")
						require.Equal(t, i > 0 && c.charges[i-1] == 1, a.header.Get("Idempotent-Replayed") == "true")
					}
				}
			}
		})
	}
}

func TestADuplicateThatIsRefusedDoesNotUseUpAFault(t *testing.T) {
	t.Parallel()
	p := start(t, psp.Config{})
	require.Equal(t, 500, p.post("k-1", bodyOf(payBy("tok_500_after_x2"))).status)
	require.Equal(t, 422, p.post("k-1", bodyOf(payBy("tok_visa"))).status)
	require.Equal(t, 500, p.post("k-1", bodyOf(payBy("tok_500_after_x2"))).status)
	require.Equal(t, 201, p.post("k-1", bodyOf(payBy("tok_500_after_x2"))).status)
}

func TestAFailureDoesNotTellWhetherTheChargeWasMade(t *testing.T) {
	t.Parallel()
	p := start(t, psp.Config{})
	before := p.post("k-1", bodyOf(payBy("tok_500_before")))
	after := p.post("k-2", bodyOf(payBy("tok_500_after")))
	before.header.Del("Date")
	after.header.Del("Date")
	require.Equal(t, before, after)
}

// outcomes sends n charges with a key each, and tells what each came to, such as "500 charged".
func outcomes(t *testing.T, config psp.Config, card string, n int) []string {
	t.Helper()
	server := psp.NewServer(config)
	seen := make([]string, n)
	for i := range n {
		seen[i] = fmt.Sprint(serve(t, server, fmt.Sprint(i), card))
	}
	for _, charge := range listOf(t, server) {
		i, err := strconv.Atoi(charge.IdempotencyKey)
		require.NoError(t, err)
		seen[i] += " charged"
	}
	return seen
}

func TestTheFailureRateIsTheShareOfRequestsThatFail(t *testing.T) {
	t.Parallel()
	const n = 400
	for _, c := range []struct {
		rate        float64
		least, most int
	}{{0, 0, 0}, {0.5, 160, 240}, {1, n, n}} {
		failed := map[string]int{}
		sum := 0
		for _, outcome := range outcomes(t, psp.Config{FailureRate: c.rate, Seed: 7}, "tok_visa", n) {
			if outcome != "201 charged" {
				failed[outcome]++
				sum++
			}
		}
		require.GreaterOrEqual(t, sum, c.least, "rate %v", c.rate)
		require.LessOrEqual(t, sum, c.most, "rate %v", c.rate)
		if c.rate > 0 {
			require.Len(t, failed, 4, "%v", failed)
			for _, outcome := range []string{"500", "500 charged", "0", "0 charged"} {
				require.Greater(t, failed[outcome], sum/8, "%v", failed)
			}
		}
	}
}

func TestTheSeedMakesTheSameFailures(t *testing.T) {
	t.Parallel()
	first := outcomes(t, psp.Config{FailureRate: 0.5, Seed: 1}, "tok_visa", 50)
	require.Equal(t, first, outcomes(t, psp.Config{FailureRate: 0.5, Seed: 1}, "tok_visa", 50))
	require.NotEqual(t, first, outcomes(t, psp.Config{FailureRate: 0.5, Seed: 2}, "tok_visa", 50))
}

func TestADeclinedCardIsNeverChargedWhateverFails(t *testing.T) {
	t.Parallel()
	for _, outcome := range outcomes(t, psp.Config{FailureRate: 0.5}, "tok_declined", 100) {
		require.NotContains(t, outcome, "charged")
		require.NotContains(t, outcome, "201")
	}
}

func TestRandomFailuresMeetReplaysAndLookUpsButNotTheList(t *testing.T) {
	t.Parallel()
	p := start(t, psp.Config{FailureRate: 0.5})
	var failed, replayed, found int
	for range 100 {
		a, err := p.send(t.Context(), "k-1", bodyOf(payBy("tok_visa")))
		if err != nil || a.status == 500 {
			failed++
		} else if a.header.Get("Idempotent-Replayed") == "true" {
			replayed++
		}
		if _, ok, err := p.client.Find(t.Context(), "k-1"); err != nil {
			var unknown *psp.Unknown
			require.ErrorAs(t, err, &unknown)
			failed++
		} else if ok {
			found++
		}
		require.LessOrEqual(t, len(p.charges("")), 1)
	}
	require.Greater(t, failed, 50)
	require.Greater(t, replayed, 20)
	require.Greater(t, found, 20)
}
