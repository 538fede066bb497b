package nethttp_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/memstore"
	"github.com/onlyonce/onlyonce/nethttp"
)

// simpleCache holds everything.
type simpleCache struct{ held sync.Map }

func (c *simpleCache) Get(key idempotency.Key) *idempotency.CachedRecord {
	record, _ := c.held.Load(key)
	cached, _ := record.(*idempotency.CachedRecord)
	return cached
}

func (c *simpleCache) Add(key idempotency.Key, record *idempotency.CachedRecord) {
	c.held.Store(key, record)
}

// What middleware and handlers do to the headers that they see, and to what they wrote, is about one answer. (The bytes that a
// Writer is given are not its own, by the rules of io.Writer.)
func TestWhatIsDoneToACachedAnswerIsDoneToThatOneAlone(t *testing.T) {
	t.Parallel()
	store, err := memstore.New(memstore.Config{})
	require.NoError(t, err)
	var fromMemory int
	engine, err := idempotency.New(store, idempotency.Config{Cache: &simpleCache{}, Observer: counting(&fromMemory)})
	require.NoError(t, err)
	protect, err := nethttp.Middleware(engine, nethttp.Config{Scope: nethttp.SharedScope})
	require.NoError(t, err)
	protected := protect(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Link"] = []string{"</a>", "</b>"}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		body := []byte(`{"id":"pay_1"}`)
		_, _ = w.Write(body)
		body[2] = 'X' // it is the handler's own
	}))
	for i := range 5 {
		r := httptest.NewRequest(http.MethodPost, "/payments", strings.NewReader("{}"))
		r.Header.Set("Idempotency-Key", "k")
		w := httptest.NewRecorder()
		protected.ServeHTTP(w, r)
		require.Equal(t, http.StatusCreated, w.Code)
		require.Equal(t, `{"id":"pay_1"}`, w.Body.String())
		require.Equal(t, []string{"</a>", "</b>"}, w.Header()["Link"])
		require.Equal(t, []string{"application/json"}, w.Header()["Content-Type"])
		require.Equal(t, i > 0, w.Header().Get("Idempotent-Replayed") == "true")
		require.Equal(t, i, fromMemory)
		for name, values := range w.Header() {
			if name != "Idempotent-Replayed" {
				values[0] = "spoilt"
			}
			w.Header().Add(name, "another")
		}
	}
	status, body := send(protected, "k", "another body")
	require.Equal(t, http.StatusUnprocessableEntity, status)
	require.Contains(t, body, `"key-reused"`)
	require.Equal(t, 5, fromMemory)
}

// counting counts the events whose record came from memory.
func counting(n *int) idempotency.Observer {
	return func(_ context.Context, event idempotency.Event) {
		if event.Cached {
			*n++
		}
	}
}
