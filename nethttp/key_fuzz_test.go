package nethttp_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/nethttp"
)

// Whatever stands in the headers that carry the key: it runs once and is replayed, or it is refused and nothing runs; and it is
// told to nobody.
func FuzzTheKeysHeaders(f *testing.F) {
	for _, seed := range [][2]string{
		{"k", ""}, {"", "k"}, {"k", "k"}, {`"k"`, ""}, {`"a b\"c\\";a;b=1`, ""}, {"a,b", ""}, {"k\x00", ""}, {"\xff", ""}, {" ", ""}, {`"k`, ""},
		{strings.Repeat("k", 255), ""}, {strings.Repeat("k", 256), ""}, {`"` + strings.Repeat(`\\`, 255) + `"`, ""}, {"k\r\nSet-Cookie: a", ""},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		runs := 0
		handler, _ := protected(t, nethttp.Config{Headers: []string{"Idempotency-Key", "X-Idempotency-Key"}}, func(w http.ResponseWriter, _ *http.Request) {
			runs++
			w.WriteHeader(http.StatusCreated)
		})
		ask := func(body string) *httptest.ResponseRecorder {
			r := httptest.NewRequest(http.MethodPost, "/payments", strings.NewReader(body))
			if first != "" {
				r.Header["Idempotency-Key"] = []string{first}
			}
			if second != "" {
				r.Header["X-Idempotency-Key"] = []string{second}
			}
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			if w.Code >= 400 {
				require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
				var problem struct{ Detail string }
				require.NoError(t, json.Unmarshal(w.Body.Bytes(), &problem))
				for _, key := range []string{first, second} {
					if len(key) > 20 { // short ones are words of the message
						require.NotContains(t, problem.Detail, key)
					}
				}
			}
			return w
		}
		if w := ask("{}"); w.Code != http.StatusCreated {
			require.Equal(t, http.StatusBadRequest, w.Code)
			require.Equal(t, http.StatusBadRequest, ask("{}").Code)
			require.Zero(t, runs)
			return
		}
		require.True(t, first == "" || second == "", "two keys were taken for one")
		again := ask("{}")
		require.Equal(t, http.StatusCreated, again.Code)
		require.Equal(t, "true", again.Header().Get("Idempotent-Replayed"))
		require.Equal(t, http.StatusUnprocessableEntity, ask("other").Code)
		require.Equal(t, 1, runs)
	})
}
