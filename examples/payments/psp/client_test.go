package psp_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/examples/payments/psp"
)

func TestTheClientChargesFindsAndLists(t *testing.T) {
	t.Parallel()
	p := start(t, psp.Config{})
	const key = "a+key/with?signs&more=%20"
	_, found, err := p.client.Find(t.Context(), key)
	require.NoError(t, err)
	require.False(t, found)

	charge, err := p.client.Charge(t.Context(), key, payBy("tok_visa"))
	require.NoError(t, err)
	require.Equal(t, psp.Charge{ID: charge.ID, Amount: 100, Currency: "USD", Status: psp.Succeeded, Reference: "order-1"}, charge)
	again, err := p.client.Charge(t.Context(), key, payBy("tok_visa"))
	require.NoError(t, err)
	require.Equal(t, charge, again)

	seen, found, err := p.client.Find(t.Context(), key)
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, charge, seen)
	list, err := p.client.List(t.Context())
	require.NoError(t, err)
	require.Equal(t, []psp.RecordedCharge{{Charge: charge, IdempotencyKey: key}}, list)
}

func TestADeclineAndARejectionAreFinal(t *testing.T) {
	t.Parallel()
	p := start(t, psp.Config{})
	for range 2 {
		_, err := p.client.Charge(t.Context(), "k-1", payBy("tok_declined"))
		var declined *psp.Declined
		require.ErrorAs(t, err, &declined)
		require.Equal(t, "card_declined", declined.Code)
		require.NotEmpty(t, declined.Detail)
	}
	_, err := p.client.Charge(t.Context(), "k-1", payBy("tok_visa"))
	var rejected *psp.Rejected
	require.ErrorAs(t, err, &rejected)
	require.Equal(t, 422, rejected.Status)
	require.Equal(t, "key_reused", rejected.Code)
	require.NotEmpty(t, rejected.Detail)
}

func TestAKeyThatNoHeaderCarriesIsRejectedAndNotSent(t *testing.T) {
	t.Parallel()
	p := start(t, psp.Config{})
	for _, key := range []string{"", " k", "k\n", "ключ", strings.Repeat("k", 256)} {
		_, err := p.client.Charge(t.Context(), key, payBy("tok_visa"))
		var rejected *psp.Rejected
		require.ErrorAs(t, err, &rejected)
		require.Equal(t, "invalid_key", rejected.Code)
	}
	require.Zero(t, p.came.Load())
}

// A connection that was used before is where http.Transport would send the request again by itself.
func TestALostReplyIsUnknownAndTheRequestIsSentOnce(t *testing.T) {
	t.Parallel()
	for _, card := range []string{"tok_drop", "tok_500_after", "tok_500_before"} {
		p := start(t, psp.Config{})
		_, err := p.client.Charge(t.Context(), "k-0", payBy("tok_visa"))
		require.NoError(t, err)
		_, err = p.client.Charge(t.Context(), "k-1", payBy(card))
		var unknown *psp.Unknown
		require.ErrorAs(t, err, &unknown, card)
		require.NotContains(t, err.Error(), "k-1")
		require.EqualValues(t, 2, p.came.Load(), "%s: one request a call", card)
	}
}

func TestTheSameKeyFindsOutWhatALostReplySaid(t *testing.T) {
	t.Parallel()
	p := start(t, psp.Config{})
	_, err := p.client.Charge(t.Context(), "k-1", payBy("tok_drop_x1"))
	require.Error(t, err)
	found, ok, err := p.client.Find(t.Context(), "k-1")
	require.NoError(t, err)
	require.True(t, ok)
	charge, err := p.client.Charge(t.Context(), "k-1", payBy("tok_drop_x1"))
	require.NoError(t, err)
	require.Equal(t, found, charge)
	require.Len(t, p.charges(""), 1)
}

func TestATimeoutIsUnknown(t *testing.T) {
	t.Parallel()
	p := start(t, psp.Config{})
	for name, charge := range map[string]func() error{
		"of the context": func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			_, err := p.client.Charge(ctx, "k-1", payBy("tok_hang"))
			return err
		},
		"of the client": func() error {
			client := psp.NewClient(p.url, &http.Client{Timeout: 50 * time.Millisecond, Transport: &http.Transport{DisableKeepAlives: true}})
			_, err := client.Charge(t.Context(), "k-2", payBy("tok_hang"))
			return err
		},
	} {
		err := charge()
		var unknown *psp.Unknown
		require.ErrorAs(t, err, &unknown, name)
		require.ErrorIs(t, err, context.DeadlineExceeded, name)
	}
}

func TestAKeyInProgressIsUnknown(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	p := start(t, psp.Config{At: func(_ context.Context, stage psp.Stage, _ string) {
		if stage == psp.AfterCharge {
			entered <- struct{}{}
			<-release
		}
	}})
	first := make(chan error, 1)
	ctx := t.Context()
	go func() {
		_, err := p.client.Charge(ctx, "k-1", payBy("tok_visa"))
		first <- err
	}()
	receive(t, entered)
	_, err := p.client.Charge(t.Context(), "k-1", payBy("tok_visa"))
	var unknown *psp.Unknown
	require.ErrorAs(t, err, &unknown)
	close(release)
	require.NoError(t, receive(t, first))
}

func TestAnUnreachableProviderIsUnknownAndTheErrorTellsNoKey(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"http://127.0.0.1:1", "://", "http://127.0.0.1:1/%zz"} {
		client := psp.NewClient(url, nil)
		_, charging := client.Charge(t.Context(), "secret-key", payBy("tok_visa"))
		_, _, finding := client.Find(t.Context(), "secret-key")
		for _, err := range []error{charging, finding} {
			var unknown *psp.Unknown
			require.ErrorAs(t, err, &unknown)
			require.NotContains(t, err.Error(), "secret-key")
		}
	}
}

func TestAnswersThatAProviderShouldNotGive(t *testing.T) {
	t.Parallel()
	const unknown, declined, rejected = "unknown", "declined", "rejected"
	charge := `{"id":"ch_1","amount":100,"currency":"USD","status":"succeeded","reference":"order-1"}`
	for name, c := range map[string]struct {
		status int
		body   string
		kind   string
	}{
		"a charge with 200":         {200, charge, unknown},
		"a charge that is not done": {201, strings.Replace(charge, "succeeded", "pending", 1), unknown},
		"no id":                     {201, strings.Replace(charge, "ch_1", "", 1), unknown},
		"no JSON":                   {201, "<html>", unknown},
		"too long":                  {201, charge + strings.Repeat(" ", 64<<10), unknown},
		"402 of a proxy":            {402, "<html>", unknown},
		"402":                       {402, `{"code":"card_declined"}`, declined},
		"404":                       {404, "not found", rejected},
		"401":                       {401, `{"code":"unauthenticated"}`, rejected},
		"408":                       {408, "", unknown},
		"409":                       {409, "", unknown},
		"425":                       {425, "", unknown},
		"429":                       {429, "", unknown},
		"503":                       {503, "", unknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startHandler(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			}))
			_, err := p.client.Charge(t.Context(), "k-1", payBy("tok_visa"))
			require.Error(t, err)
			require.EqualValues(t, 1, p.came.Load())
			kind := ""
			if _, ok := errors.AsType[*psp.Unknown](err); ok {
				kind = unknown
			} else if _, ok := errors.AsType[*psp.Declined](err); ok {
				kind = declined
			} else if _, ok := errors.AsType[*psp.Rejected](err); ok {
				kind = rejected
			}
			require.Equal(t, c.kind, kind, err)
		})
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	for _, status := range []int{302, 303, 307, 308} {
		p := startHandler(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/elsewhere" {
				w.WriteHeader(201)
				_, _ = io.WriteString(w, `{"id":"ch_1","status":"succeeded"}`)
				return
			}
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
		}))
		_, err := p.client.Charge(t.Context(), "k-1", payBy("tok_visa"))
		var unknown *psp.Unknown
		require.ErrorAs(t, err, &unknown, status)
	}
}

func TestAnAnswerWithoutEndIsUnknown(t *testing.T) {
	t.Parallel()
	p := startHandler(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(201)
		for sent, err := 0, error(nil); err == nil && sent < 16<<20; sent += 1 << 10 {
			_, err = io.WriteString(w, strings.Repeat(" ", 1<<10))
		}
		panic(http.ErrAbortHandler)
	}))
	_, err := p.client.Charge(t.Context(), "k-1", payBy("tok_visa"))
	var unknown *psp.Unknown
	require.ErrorAs(t, err, &unknown)
	require.NotErrorIs(t, err, io.ErrUnexpectedEOF, "the client left before the answer broke off")
}

func TestAnAnswerThatBreaksOffIsUnknown(t *testing.T) {
	t.Parallel()
	for _, status := range []int{201, 402, 422} {
		p := startHandler(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, `{"code":"card_declined"}`)
		}))
		_, err := p.client.Charge(t.Context(), "k-1", payBy("tok_visa"))
		var unknown *psp.Unknown
		require.ErrorAs(t, err, &unknown)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	}
}

func TestAListThatIsNoneIsNotTakenForNoCharge(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"{}", "null", "<html>", `{"charges":null}`, `{"charges":[{"id":"ch_1","idempotency_key":"another"}]}`} {
		p := startHandler(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, body)
		}))
		_, _, err := p.client.Find(t.Context(), "k-1")
		var unknown *psp.Unknown
		require.ErrorAs(t, err, &unknown, body)
	}
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	t.Parallel()
	server := psp.NewServer(psp.Config{})
	from := make(chan string, 20)
	p := startHandler(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from <- r.RemoteAddr
		server.ServeHTTP(w, r)
	}))
	for _, card := range []string{"tok_visa", "tok_declined", "4242", "tok_500_before", "tok_visa"} {
		_, _ = p.client.Charge(t.Context(), "k-"+card, payBy(card))
	}
	first := receive(t, from)
	for range 4 {
		require.Equal(t, first, receive(t, from))
	}
}
