package service_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/gateway/service"
	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/memstore"
)

// world is a service on a listener, and what the tests say to it.
type world struct {
	*testing.T
	url      string
	token    string
	scope    string
	registry *prometheus.Registry
	clock    *clock
	seen     map[string]bool // the promises of the document that were kept
}

// clock is one that tests move, and nobody else.
type clock struct {
	mu   sync.Mutex
	time time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.time
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.time = c.time.Add(d)
}

// inMemory starts a service on a store of its own, in memory, whose clock is the world's.
func inMemory(t *testing.T, change ...func(*service.Config)) *world {
	t.Helper()
	c := &clock{time: time.Now()}
	store, err := memstore.New(memstore.Config{Now: c.now})
	require.NoError(t, err)
	w := on(t, store, change...)
	w.clock = c
	return w
}

func on(t *testing.T, leaser idempotency.Leaser, change ...func(*service.Config)) *world {
	t.Helper()
	w := &world{T: t, scope: "acme", registry: prometheus.NewRegistry(), seen: map[string]bool{}}
	config := service.Config{Anonymous: true, Registerer: w.registry}
	for _, c := range change {
		c(&config)
	}
	handler, err := service.New(leaser, config)
	require.NoError(t, err)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

type answer struct {
	status int
	header http.Header
	body   string
}

// member returns what is at the path of names in the answer's body.
func (a answer) member(t *testing.T, names ...string) any {
	t.Helper()
	var value any
	require.NoError(t, json.Unmarshal([]byte(a.body), &value), a.body)
	for _, name := range names {
		object, ok := value.(map[string]any)
		require.True(t, ok, a.body)
		value = object[name]
	}
	return value
}

// send sends a request, and holds it and its answer to the OpenAPI document.
func (w *world) send(method, path, body string, change ...func(*http.Request)) answer {
	w.Helper()
	request, err := http.NewRequestWithContext(w.Context(), method, w.url+path, strings.NewReader(body))
	require.NoError(w, err)
	if w.scope != "" {
		request.Header.Set("X-Idempotency-Scope", w.scope)
	}
	if w.token != "" {
		request.Header.Set("Authorization", "Bearer "+w.token)
	}
	for _, c := range change {
		c(request)
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(w, err)
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	require.NoError(w, err)
	got := answer{response.StatusCode, response.Header, string(content)}
	if path != "/openapi.yaml" {
		require.Equal(w, "no-store", got.header.Get("Cache-Control"), "%s %s %d", method, path, got.status)
	}
	d, err := readDocument()
	require.NoError(w, err)
	if promise := d.check(w.T, method, path, body, got); promise != "" {
		w.seen[promise] = true
	}
	return got
}

func (w *world) post(path, format string, values ...any) answer {
	w.Helper()
	return w.send(http.MethodPost, path, fmt.Sprintf(format, values...))
}

// get reads a response; path is what follows /response/.
func (w *world) get(path, fingerprint string) answer {
	w.Helper()
	return w.send(http.MethodGet, "/response/"+path, "", func(r *http.Request) {
		if fingerprint != "" {
			r.Header.Set("X-Request-Fingerprint", fingerprint)
		}
	})
}

// want checks an answer's status and, of a problem, its code.
func (w *world) want(got answer, status int, code string) answer {
	w.Helper()
	require.Equal(w, status, got.status, got.body)
	if code != "" {
		require.Equal(w, code, got.member(w.T, "code"), got.body)
	}
	return got
}

// claim claims a key, which must succeed, and returns the lock value.
func (w *world) claim(key, fingerprint string) string {
	w.Helper()
	got := w.want(w.post("/v1/claims", `{"idempotency_key":%q,"request_fingerprint":%q,"lock_duration":60000}`, key, fingerprint), 201, "")
	return got.member(w.T, "lock_value").(string)
}

// complete stores a response under a new key.
func (w *world) complete(key, fingerprint, response string) {
	w.Helper()
	w.want(w.post("/v1/completions", `{"idempotency_key":%q,"request_fingerprint":%q,"lock_value":%q,"response":%s}`,
		key, fingerprint, w.claim(key, fingerprint), response), 201, "")
}

// failing is a Leaser whose every answer is this error.
type failing struct {
	idempotency.Leaser
	err error
}

func (f failing) Acquire(context.Context, idempotency.Key, idempotency.Terms) (*idempotency.Lease, *idempotency.Record, error) {
	return nil, nil, f.err
}

func (f failing) Settle(context.Context, idempotency.Key, idempotency.OwnerToken, *idempotency.Record, time.Duration) (bool, error) {
	return false, f.err
}

func (f failing) Extend(context.Context, idempotency.Key, idempotency.OwnerToken, time.Duration) error {
	return f.err
}

func (f failing) Free(context.Context, idempotency.Key, idempotency.OwnerToken) error { return f.err }

func (f failing) Lookup(context.Context, idempotency.Key) (*idempotency.Record, error) {
	return nil, f.err
}
