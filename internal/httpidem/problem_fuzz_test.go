package httpidem_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/httpidem"
)

// A service may answer with errors of its own making: whatever is in them, it is a problem document, and no header is made of it.
func FuzzWriteProblem(f *testing.F) {
	f.Add("key-reused", "Send a new key.", int64(0), "")
	f.Add("in-progress", "a\r\nSet-Cookie: b", int64(time.Second), "secret")
	f.Add("store-unavailable", "\xff\x00\u2028</script>", int64(1), "")
	f.Add("a code\r\nof nobody's", "", int64(-1), "")
	f.Add("", "", int64(1<<63-1), "")
	f.Fuzz(func(t *testing.T, code, detail string, wait int64, cause string) {
		problem := &idempotency.Error{Code: idempotency.Code(code), Detail: detail, RetryAfter: time.Duration(wait)}
		var err error = problem
		if cause != "" {
			err = fmt.Errorf("wrapped: %w", problem.Because(fmt.Errorf("%s is secret", cause)))
		}
		w := httptest.NewRecorder()
		w.Header().Set("Content-Length", "7")
		httpidem.WriteProblem(w, err)

		var got httpidem.Problem
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
		require.Equal(t, w.Code, got.Status)
		require.GreaterOrEqual(t, w.Code, 400)
		require.Less(t, w.Code, 600)
		require.NotEmpty(t, got.Title)
		require.Contains(t, []idempotency.KeyAction{"reuse", "rotate"}, got.KeyAction)
		require.NotContains(t, w.Body.String(), " is secret")
		want := http.Header{"Content-Type": {"application/problem+json"}}
		if wait > 0 {
			after, err := strconv.ParseInt(w.Header().Get("Retry-After"), 10, 64)
			require.NoError(t, err)
			require.GreaterOrEqual(t, time.Duration(after), time.Duration(wait)/time.Second)
			require.Positive(t, after)
			want["Retry-After"] = w.Header()["Retry-After"]
		}
		require.Equal(t, want, w.Header())
	})
}
