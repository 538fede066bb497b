package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"github.com/onlyonce/onlyonce/bench/measure"
	"github.com/onlyonce/onlyonce/gateway/proxy"
	"github.com/onlyonce/onlyonce/idempotency"
)

// stage is an upstream that takes its time, and what stands in front of it.
type stage struct {
	contenders []contender
	close      func()
}

// contender is one way to the upstream.
type contender struct {
	name string
	// send asks once.
	send func(ctx context.Context) error
}

const payment = `{"account":"acc_1","amount":1999,"currency":"EUR","reference":"order-1"}`

// open has an upstream whose work takes that long.
func open(ctx context.Context, leaser idempotency.Leaser, work time.Duration, connections int) (*stage, error) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if work > 0 {
			time.Sleep(work) // it is what is measured against
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Location", "/payments/pay_1")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"id":"pay_1",`+payment[1:])
	}))
	target, err := url.Parse(upstream.URL)
	if err != nil {
		return nil, err
	}
	config, err := proxy.Parse([]byte(fmt.Sprintf(`
listen: {address: "127.0.0.1:0"}
store: {url: "memory:"}
log: {access: false}
defaults: {upstream: %q, scope: {from: header, header: X-Account}, timeout: 10s}
routes:
  - patterns: ["POST /protected"]
  - patterns: ["POST /through"]
    protect: off
`, upstream.URL)))
	if err != nil {
		return nil, err
	}
	ours, err := proxy.New(leaser, config, proxy.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	bare := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target); r.SetXForwarded() },
		Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 256},
	})
	front := httptest.NewServer(ours)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections}}
	replayed := measure.RandomKey()
	send := func(to string, key func() string) func(context.Context) error {
		return func(ctx context.Context) error { return post(ctx, client, to, key()) }
	}
	s := &stage{contenders: []contender{
		{"httputil.ReverseProxy", send(bare.URL+"/protected", measure.RandomKey)},
		{"the proxy, a route without keys", send(front.URL+"/through", measure.RandomKey)},
		{"the proxy, a fresh key", send(front.URL+"/protected", measure.RandomKey)},
		{"the proxy, a replay", send(front.URL+"/protected", func() string { return replayed })},
	}}
	s.close = func() {
		client.CloseIdleConnections()
		for _, server := range []*httptest.Server{front, bare, upstream} {
			server.Close()
		}
	}
	if err := send(front.URL+"/protected", func() string { return replayed })(ctx); err != nil { // what is replayed
		s.close()
		return nil, err
	}
	return s, nil
}

var errStatus = errors.New("not answered 201")

func post(ctx context.Context, client *http.Client, to, key string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to, strings.NewReader(payment))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Idempotency-Key", key)
	request.Header.Set("X-Account", "acc_1")
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusCreated {
		err = fmt.Errorf("%w: %d %s", errStatus, response.StatusCode, body)
	}
	return err
}
