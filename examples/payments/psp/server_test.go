package psp_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/examples/payments/psp"
)

func TestAChargeIsMadeAndListedByItsKey(t *testing.T) {
	t.Parallel()
	p := start(t, psp.Config{})
	require.Empty(t, p.charges(""))

	made := p.post("k-1", bodyOf(payBy("tok_visa")))
	require.Equal(t, 201, made.status, made.body)
	require.Equal(t, "application/json", made.header.Get("Content-Type"))
	require.Empty(t, made.header.Get("Idempotent-Replayed"))
	var fields map[string]any
	require.NoError(t, json.Unmarshal([]byte(made.body), &fields))
	id, _ := fields["id"].(string)
	require.Regexp(t, `^ch_[A-Z2-7]{26}$`, id)
	require.Equal(t, map[string]any{"id": id, "amount": 100.0, "currency": "USD", "status": "succeeded", "reference": "order-1"}, fields)

	other := p.post("k-2", bodyOf(payBy("tok_visa")))
	require.Equal(t, 201, other.status, "the same request with another key is another charge")
	first := psp.RecordedCharge{
		Charge:         psp.Charge{ID: id, Amount: 100, Currency: "USD", Status: psp.Succeeded, Reference: "order-1"},
		IdempotencyKey: "k-1",
	}
	all := p.charges("")
	require.Len(t, all, 2)
	require.Equal(t, first, all[0])
	require.Equal(t, "k-2", all[1].IdempotencyKey)
	require.NotEqual(t, id, all[1].ID)
	require.Equal(t, []psp.RecordedCharge{first}, p.charges("?idempotency_key=k-1"))
	require.Empty(t, p.charges("?idempotency_key=k-3"))
	require.Empty(t, p.charges("?idempotency_key="), "an empty key is a key that nobody used, not a request for all")
}

func TestTheSameKeyGetsTheSameAnswer(t *testing.T) {
	t.Parallel()
	for card, status := range map[string]int{"tok_visa": 201, "tok_declined": 402} {
		t.Run(card, func(t *testing.T) {
			t.Parallel()
			p := start(t, psp.Config{})
			first := p.post("k-1", bodyOf(payBy(card)))
			require.Equal(t, status, first.status, first.body)
			require.Empty(t, first.header.Get("Idempotent-Replayed"))
			// Other spacing and order are the same request.
			second := p.post("k-1", `{ "reference":"order-1", "card":"`+card+`", "currency":"USD", "amount":100 }`)
			require.Equal(t, status, second.status)
			require.Equal(t, first.body, second.body)
			require.Equal(t, "true", second.header.Get("Idempotent-Replayed"))
			if status == 402 {
				require.Contains(t, first.body, `"code":"card_declined"`)
				require.Empty(t, p.charges(""))
			} else {
				require.Len(t, p.charges(""), 1)
			}
		})
	}
}

func TestAKeyBelongsToOneRequest(t *testing.T) {
	t.Parallel()
	p := start(t, psp.Config{})
	require.Equal(t, 500, p.post("k-1", bodyOf(payBy("tok_500_before_x1"))).status, "a key is taken by a failed request too")
	for name, change := range map[string]func(*psp.ChargeRequest){
		"amount":    func(r *psp.ChargeRequest) { r.Amount++ },
		"currency":  func(r *psp.ChargeRequest) { r.Currency = "EUR" },
		"card":      func(r *psp.ChargeRequest) { r.Card = "tok_visa" },
		"reference": func(r *psp.ChargeRequest) { r.Reference = "order-2" },
	} {
		request := payBy("tok_500_before_x1")
		change(&request)
		refused := p.post("k-1", bodyOf(request))
		require.Equal(t, 422, refused.status, name)
		require.Contains(t, refused.body, `"code":"key_reused"`, name)
	}
	require.Empty(t, p.charges(""))
	require.Equal(t, 201, p.post("k-1", bodyOf(payBy("tok_500_before_x1"))).status)
}

func TestBadInputIsRefusedAndLeavesTheKeyFree(t *testing.T) {
	t.Parallel()
	p := start(t, psp.Config{})
	good := bodyOf(payBy("tok_visa"))
	for name, c := range map[string]struct {
		key, body string
		status    int
		code      string
	}{
		"no key":              {"", good, 400, "invalid_key"},
		"long key":            {strings.Repeat("k", 256), good, 400, "invalid_key"},
		"key with a space":    {"k 1", good, 400, "invalid_key"},
		"key not in ASCII":    {"ключ", good, 400, "invalid_key"},
		"no body":             {"k-1", "", 400, "malformed_body"},
		"half a body":         {"k-1", good[:20], 400, "malformed_body"},
		"two bodies":          {"k-1", good + good, 400, "malformed_body"},
		"huge body":           {"k-1", good + strings.Repeat(" ", 16<<10), 400, "malformed_body"},
		"unknown field":       {"k-1", `{"amount":100,"currency":"USD","card":"tok_visa","tip":1}`, 400, "malformed_body"},
		"amount in text":      {"k-1", strings.Replace(good, "100", `"100"`, 1), 400, "malformed_body"},
		"fraction":            {"k-1", strings.Replace(good, "100", "1.5", 1), 400, "malformed_body"},
		"nothing":             {"k-1", "{}", 422, "invalid_amount"},
		"no amount":           {"k-1", strings.Replace(good, "100", "0", 1), 422, "invalid_amount"},
		"negative amount":     {"k-1", strings.Replace(good, "100", "-1", 1), 422, "invalid_amount"},
		"small letters":       {"k-1", strings.Replace(good, "USD", "usd", 1), 422, "invalid_currency"},
		"long currency":       {"k-1", strings.Replace(good, "USD", "USDT", 1), 422, "invalid_currency"},
		"long reference":      {"k-1", strings.Replace(good, "order-1", strings.Repeat("r", 256), 1), 422, "invalid_reference"},
		"unknown card":        {"k-1", strings.Replace(good, "tok_visa", "4242", 1), 422, "unknown_card"},
		"no card":             {"k-1", strings.Replace(good, "tok_visa", "", 1), 422, "unknown_card"},
		"suffix without use":  {"k-1", strings.Replace(good, "tok_visa", "tok_visa_x2", 1), 422, "unknown_card"},
		"decline for a while": {"k-1", strings.Replace(good, "tok_visa", "tok_declined_x2", 1), 422, "unknown_card"},
		"suffix of none":      {"k-1", strings.Replace(good, "tok_visa", "tok_drop_x0", 1), 422, "unknown_card"},
		"suffix of words":     {"k-1", strings.Replace(good, "tok_visa", "tok_drop_xs", 1), 422, "unknown_card"},
		"negative suffix":     {"k-1", strings.Replace(good, "tok_visa", "tok_drop_x-1", 1), 422, "unknown_card"},
		"another suffix":      {"k-1", strings.Replace(good, "tok_visa", "tok_drop2", 1), 422, "unknown_card"},
	} {
		refused := p.post(c.key, c.body)
		require.Equal(t, c.status, refused.status, "%s: %s", name, refused.body)
		var said struct{ Code, Detail string }
		require.NoError(t, json.Unmarshal([]byte(refused.body), &said), name)
		require.Equal(t, c.code, said.Code, name)
		require.NotEmpty(t, said.Detail, name)
	}
	require.Empty(t, p.charges(""))
	require.Equal(t, 201, p.post("k-1", good).status)
	require.Equal(t, 201, p.post(strings.Repeat("k", 255), good).status)
}

func TestTwoKeyHeadersAreRefused(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest(http.MethodPost, "/v1/charges", strings.NewReader(bodyOf(payBy("tok_visa"))))
	r.Header["Idempotency-Key"] = []string{"k-1", "k-2"}
	w := httptest.NewRecorder()
	psp.NewServer(psp.Config{}).ServeHTTP(w, r)
	require.Equal(t, 400, w.Code)
}

func TestHealthz(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	psp.NewServer(psp.Config{FailureRate: 1}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/healthz", nil))
	require.Equal(t, 200, w.Code)
	require.JSONEq(t, `{"status":"ok"}`, w.Body.String())
}

func TestFiftyAtOnceWithOneKeyChargeOnce(t *testing.T) {
	t.Parallel()
	const duplicates = 49
	entered, release := make(chan string, duplicates+1), make(chan struct{})
	p := start(t, psp.Config{At: func(_ context.Context, stage psp.Stage, _ string) {
		if stage == psp.BeforeCharge {
			entered <- "a charge"
			<-release
		}
	}})
	answers, failures := make(chan answer, duplicates+1), make(chan error, duplicates+1)
	request := bodyOf(payBy("tok_visa"))
	ctx := t.Context()
	for range duplicates + 1 {
		go func() {
			a, err := p.send(ctx, "k-1", request)
			answers <- a
			failures <- err
		}()
	}
	receive(t, entered)
	defer func() {
		require.Empty(t, entered, "one request alone comes to charge")
	}()
	for range duplicates {
		refused := receive(t, answers)
		assert.Equal(t, 409, refused.status, refused.body)
		assert.Equal(t, "1", refused.header.Get("Retry-After"))
		assert.Contains(t, refused.body, `"code":"in_progress"`)
	}
	require.Empty(t, p.charges(""))
	close(release)
	require.Equal(t, 201, receive(t, answers).status)
	for range duplicates + 1 {
		require.NoError(t, receive(t, failures))
	}
	require.Len(t, p.charges(""), 1)
}

func TestAStormOfRetriesChargesEachKeyOnce(t *testing.T) {
	t.Parallel()
	const clients, keys = 20, 10
	server := psp.NewServer(psp.Config{FailureRate: 0.5})
	done := make(chan struct{})
	ctx := t.Context()
	for client := range clients {
		go func() {
			for i := range keys {
				key := fmt.Sprint((client + i) % keys)
				for serveContext(ctx, server, key, "tok_500_after_x3") != 201 {
				}
			}
			done <- struct{}{}
		}()
	}
	for range clients {
		receive(t, done)
	}
	charged := map[string]int{}
	for _, charge := range listOf(t, server) {
		charged[charge.IdempotencyKey]++
	}
	require.Len(t, charged, keys)
	for key, times := range charged {
		require.Equal(t, 1, times, key)
	}
}

// sentAgain is a client that has its reply and sends the same again before the server does anything else.
type sentAgain struct {
	*httptest.ResponseRecorder
	send func()
}

func (s sentAgain) WriteHeader(status int) {
	s.ResponseRecorder.WriteHeader(status)
	s.send()
}

func TestTheKeyIsFreeWhenTheReplyIsOut(t *testing.T) {
	t.Parallel()
	server := psp.NewServer(psp.Config{})
	newRequest := func() *http.Request {
		r := httptest.NewRequest(http.MethodPost, "/v1/charges", strings.NewReader(bodyOf(payBy("tok_visa"))))
		r.Header.Set("Idempotency-Key", "k-1")
		return r
	}
	second := httptest.NewRecorder()
	server.ServeHTTP(sentAgain{httptest.NewRecorder(), func() { server.ServeHTTP(second, newRequest()) }}, newRequest())
	require.Equal(t, 201, second.Code, second.Body)
}

func TestATestCanStopBeforeAndAfterTheCharge(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		card string
		made int
	}{{"tok_visa", 1}, {"tok_declined", 0}, {"tok_500_after", 1}} {
		t.Run(c.card, func(t *testing.T) {
			t.Parallel()
			type call struct {
				stage psp.Stage
				key   string
			}
			calls, goOn := make(chan call), make(chan struct{})
			p := start(t, psp.Config{At: func(ctx context.Context, stage psp.Stage, key string) {
				assert.NotNil(t, ctx.Value(http.ServerContextKey), "the context is that of the request")
				calls <- call{stage, key}
				<-goOn
			}})
			answers := make(chan answer, 1)
			ctx := t.Context()
			go func() {
				a, _ := p.send(ctx, "k-1", bodyOf(payBy(c.card)))
				answers <- a
			}()
			require.Equal(t, call{psp.BeforeCharge, "k-1"}, receive(t, calls))
			require.Empty(t, p.charges(""), "the list is not locked, and empty")
			goOn <- struct{}{}
			require.Equal(t, call{psp.AfterCharge, "k-1"}, receive(t, calls))
			require.Len(t, p.charges("?idempotency_key=k-1"), c.made)
			require.Equal(t, 409, p.post("k-1", bodyOf(payBy(c.card))).status, "the key is in progress until the end")
			goOn <- struct{}{}
			first := receive(t, answers)
			require.Equal(t, first.status, p.post("k-1", bodyOf(payBy(c.card))).status, "a replay passes no stage")
		})
	}
}

func TestAPanicInATestLeavesTheKeyFree(t *testing.T) {
	t.Parallel()
	panics := true
	server := psp.NewServer(psp.Config{At: func(context.Context, psp.Stage, string) {
		if panics {
			panic(http.ErrAbortHandler)
		}
	}})
	require.Panics(t, func() { serve(t, server, "k-1", "tok_visa") })
	panics = false
	require.Equal(t, 201, serve(t, server, "k-1", "tok_visa"))
}

// serve returns the status, and 0 for no reply. It has no network, so that it can run on synctest's clock.
func serve(t *testing.T, server *psp.Server, key, card string) int {
	t.Helper()
	return serveContext(t.Context(), server, key, card)
}

func serveContext(ctx context.Context, server *psp.Server, key, card string) int {
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/v1/charges", strings.NewReader(bodyOf(payBy(card))))
	r.Header.Set("Idempotency-Key", key)
	w := hijackable{ResponseRecorder: httptest.NewRecorder(), closed: new(bool)}
	server.ServeHTTP(w, r)
	if *w.closed {
		return 0
	}
	return w.Code
}

func TestSlowAndHangTakeTheirTime(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config psp.Config
		card   string
		takes  time.Duration
		status int
	}{
		"slow":                {psp.Config{}, "tok_slow", 2 * time.Second, 201},
		"slow as configured":  {psp.Config{Slow: time.Hour}, "tok_slow", time.Hour, 201},
		"hang":                {psp.Config{}, "tok_hang", time.Minute, 0},
		"hangs as configured": {psp.Config{MaxHang: time.Hour}, "tok_hang", time.Hour, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := psp.NewServer(c.config)
				began := time.Now()
				require.Equal(t, c.status, serve(t, server, "k-1", c.card+"_x1"))
				require.Equal(t, c.takes, time.Since(began))
				require.Equal(t, 201, serve(t, server, "k-1", c.card+"_x1"))
				require.Equal(t, c.takes, time.Since(began), "the second request has no fault")
			})
		})
	}
}

func TestASlowChargeIsMadeThoughTheClientHasGoneAndItsReplayIsNotSlow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := psp.NewServer(psp.Config{})
		gone, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		serveContext(gone, server, "k-1", "tok_slow")
		require.Len(t, listOf(t, server), 1)
		require.Equal(t, 201, serve(t, server, "k-1", "tok_slow"))
		require.Equal(t, 2*time.Second, time.Since(began))
		require.Len(t, listOf(t, server), 1)
	})
}

func TestAHangEndsWhenTheClientGoesAwayAndNothingIsCharged(t *testing.T) {
	t.Parallel()
	server := psp.NewServer(psp.Config{MaxHang: 24 * time.Hour})
	came, ended := make(chan struct{}, 1), make(chan struct{}, 1)
	p := startHandler(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			came <- struct{}{}
			defer func() { ended <- struct{}{} }()
		}
		server.ServeHTTP(w, r)
	}))
	ctx, leave := context.WithCancel(t.Context())
	sent := make(chan error, 1)
	go func() {
		_, err := p.client.Charge(ctx, "k-1", payBy("tok_hang"))
		sent <- err
	}()
	receive(t, came)
	leave()
	receive(t, ended)
	var unknown *psp.Unknown
	err := receive(t, sent)
	require.ErrorAs(t, err, &unknown)
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, p.charges(""))
}
