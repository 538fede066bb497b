package nethttp_test

import (
	"bytes"
	"fmt"
	"io"
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

// hoarder keeps the very slices that it is given, against the rules of io.Writer.
type hoarder struct{ kept [][]byte }

func (h *hoarder) Write(b []byte) (int, error) {
	h.kept = append(h.kept, b)
	return len(b), nil
}

// send posts a body with a key and returns the answer's status and body.
func send(handler http.Handler, key, body string) (int, string) {
	r := httptest.NewRequest(http.MethodPost, "/payments", strings.NewReader(body))
	r.Header.Set("Idempotency-Key", key)
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// The buffers that requests are read into are used again. Whoever keeps what they got to see must not see others' requests in it.
func TestABodyThatSomebodyKeepsNeverChanges(t *testing.T) {
	t.Parallel()
	store, err := memstore.New(memstore.Config{})
	require.NoError(t, err)
	engine, err := idempotency.New(store, idempotency.Config{})
	require.NoError(t, err)

	var mu sync.Mutex
	kept := map[string][][]byte{} // by what they were
	keep := func(parts ...[]byte) {
		mu.Lock()
		defer mu.Unlock()
		for _, part := range parts {
			kept[string(part)] = append(kept[string(part)], part)
		}
	}
	late := make(chan struct{})
	var outliving sync.WaitGroup
	config := nethttp.Config{Scope: nethttp.SharedScope}
	handler := func(w http.ResponseWriter, r *http.Request) {
		h := &hoarder{}
		_, err := io.Copy(h, r.Body) // by WriteTo: the body's own bytes
		if err != nil || len(h.kept) != 1 {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		keep(h.kept...)
		want := string(h.kept[0])
		seeker := r.Body.(io.Seeker)
		outliving.Go(func() { // reads when the buffers have been used by others
			<-late
			_, _ = seeker.Seek(0, io.SeekStart)
			if got, err := io.ReadAll(r.Body); err != nil || string(got) != want {
				t.Errorf("a goroutine that outlives its handler reads %q, %v, want %q", got, err, want)
			}
		})
		_, _ = w.Write(h.kept[0])
	}
	protect, err := nethttp.Middleware(engine, config)
	require.NoError(t, err)
	byHeader := protect(http.HandlerFunc(handler))
	config.Key = func(_ *http.Request, body []byte) (string, error) {
		keep(body)
		key, _, _ := bytes.Cut(body, []byte(" "))
		return string(key), nil
	}
	protect, err = nethttp.Middleware(engine, config)
	require.NoError(t, err)
	byBody := protect(http.HandlerFunc(handler))

	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for i := range 100 {
				for name, h := range map[string]http.Handler{"header": byHeader, "body": byBody} {
					body := fmt.Sprintf("%s-%d-%d %s", name, worker, i, strings.Repeat(string(rune('a'+worker)), i*i%3000))
					key, _, _ := strings.Cut(body, " ")
					for range 3 { // run, and replayed
						if status, got := send(h, key, body); status != http.StatusOK || got != body {
							t.Errorf("answered %d %.40q, want the body %.40q", status, got, body)
						}
					}
				}
			}
		})
	}
	all.Wait()
	close(late)
	outliving.Wait()
	require.GreaterOrEqual(t, len(kept), 800)
	for was, slices := range kept {
		for _, is := range slices {
			require.Equal(t, was, string(is), "what was kept has changed")
		}
	}
}

// A slice of a kept body has no room in which another request's bytes could stand.
func TestBehindABodyThereIsNothingOfOthers(t *testing.T) {
	t.Parallel()
	store, err := memstore.New(memstore.Config{})
	require.NoError(t, err)
	engine, err := idempotency.New(store, idempotency.Config{})
	require.NoError(t, err)
	var seen []byte
	protect, err := nethttp.Middleware(engine, nethttp.Config{Scope: nethttp.SharedScope})
	require.NoError(t, err)
	handler := protect(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		h := &hoarder{}
		_, _ = io.Copy(h, r.Body)
		seen = h.kept[0]
	}))
	for i := range 50 {
		_, _ = send(handler, fmt.Sprint("long-", i), strings.Repeat("secret", 500))
		_, _ = send(handler, fmt.Sprint("short-", i), "short")
		require.Equal(t, "short", string(seen))
		require.NotContains(t, string(seen[:cap(seen)]), "secret")
	}
}
