package psp_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/examples/payments/psp"
)

// provider is a running provider, and what it is asked with.
type provider struct {
	t   *testing.T
	url string
	// came counts the POST requests that reached it.
	came   *atomic.Int64
	http   *http.Client
	client *psp.Client
}

func start(t *testing.T, config psp.Config) *provider {
	t.Helper()
	return startHandler(t, psp.NewServer(config))
}

func startHandler(t *testing.T, handler http.Handler) *provider {
	t.Helper()
	came := &atomic.Int64{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			came.Add(1)
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return &provider{t, server.URL, came, server.Client(), psp.NewClient(server.URL, server.Client())}
}

func payBy(card string) psp.ChargeRequest {
	return psp.ChargeRequest{Amount: 100, Currency: "USD", Card: card, Reference: "order-1"}
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (p *provider) post(key, body string) answer {
	p.t.Helper()
	a, err := p.send(p.t.Context(), key, body)
	require.NoError(p.t, err)
	return a
}

func (p *provider) send(ctx context.Context, key, body string) (answer, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+"/v1/charges", strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	r.GetBody = nil
	r.Header.Set("Idempotency-Key", key)
	response, err := p.http.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, string(text)}, err
}

func bodyOf(request psp.ChargeRequest) string {
	text, _ := json.Marshal(request)
	return string(text)
}

// charges asks for the list by itself, not by the client under test.
func (p *provider) charges(query string) []psp.RecordedCharge {
	p.t.Helper()
	response, err := p.http.Get(p.url + "/v1/charges" + query)
	require.NoError(p.t, err)
	defer func() { _ = response.Body.Close() }()
	require.Equal(p.t, 200, response.StatusCode)
	var list map[string][]psp.RecordedCharge
	require.NoError(p.t, json.NewDecoder(response.Body).Decode(&list))
	require.NotNil(p.t, list["charges"], "no charges are an empty list, not null")
	return list["charges"]
}

func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(30 * time.Second):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}
