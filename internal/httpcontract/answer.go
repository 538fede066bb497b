package httpcontract

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

// answer is a response as a client has it.
type answer struct {
	t      testing.TB
	status int
	header http.Header
	body   string
}

// send has the route answer request, in this goroutine.
func (r *route) send(request *http.Request) answer {
	r.Helper()
	return serve(r, r, request)
}

func serve(t testing.TB, handler http.Handler, request *http.Request) answer {
	t.Helper()
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	return read(t, recorder.Result())
}

// post sends body with key.
func (r *route) post(key, body string) answer {
	r.Helper()
	return r.send(post(key, body))
}

func read(t testing.TB, response *http.Response) answer {
	t.Helper()
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	assert.NoError(t, err) // not require: this is not always the test's own goroutine
	return answer{t, response.StatusCode, response.Header, string(body)}
}

// is checks status and body of an answer by the handler itself.
func (a answer) is(status int, body string) {
	a.t.Helper()
	require.Equal(a.t, status, a.status, a.body)
	require.Equal(a.t, body, a.body)
	require.Empty(a.t, a.header.Values("Idempotent-Replayed"), "this is no replay")
}

// replays checks that a is first once more.
func (a answer) replays(first answer) {
	a.t.Helper()
	require.Equal(a.t, first.status, a.status, a.body)
	require.Equal(a.t, first.body, a.body)
	require.Equal(a.t, []string{"true"}, a.header.Values("Idempotent-Replayed"))
	for _, name := range []string{"Content-Type", "Location", "Etag", "Link"} {
		require.Equal(a.t, first.header.Values(name), a.header.Values(name), name)
	}
}

// meaning is what the contract says of a code. It is written out here, and not taken from the code under test.
type meaning struct {
	status     int
	retryable  bool
	keyAction  string
	retryAfter string
}

var contract = map[idempotency.Code]meaning{
	"key-missing":          {400, false, "rotate", ""},
	"key-invalid":          {400, false, "rotate", ""},
	"scope-missing":        {403, false, "reuse", ""},
	"in-progress":          {409, true, "reuse", "1"},
	"key-reused":           {422, false, "rotate", ""},
	"request-too-large":    {413, false, "reuse", ""},
	"request-unreadable":   {400, true, "reuse", ""},
	"response-too-large":   {500, false, "reuse", ""},
	"store-unavailable":    {503, true, "reuse", "1"},
	"transaction-conflict": {503, true, "reuse", "1"},
	"transaction-aborted":  {500, true, "reuse", ""},
	"transaction-ended":    {500, false, "reuse", ""},
	"record-unreadable":    {500, false, "reuse", ""},
	"lease-lost":           {409, true, "reuse", "1"},
	"steps-changed":        {503, true, "reuse", "10"},
	"step-misuse":          {500, false, "reuse", ""},
	"too-many-pending":     {429, true, "reuse", "1"},
	"nested":               {500, false, "reuse", ""},
	"internal":             {500, false, "reuse", ""},
}

// problem checks that a is the whole problem document of code.
func (a answer) problem(code idempotency.Code) {
	a.t.Helper()
	want, known := contract[code]
	require.True(a.t, known, "the contract has no %s", code)
	require.Equal(a.t, want.status, a.status, a.body)
	require.Equal(a.t, "application/problem+json", a.header.Get("Content-Type"))
	require.Equal(a.t, want.retryAfter, a.header.Get("Retry-After"))
	require.Empty(a.t, a.header.Values("Idempotent-Replayed"))

	var members map[string]any
	require.NoError(a.t, json.Unmarshal([]byte(a.body), &members), a.body)
	for _, text := range []string{"title", "detail"} {
		require.NotEmpty(a.t, members[text], text)
		delete(members, text)
	}
	require.Equal(a.t, map[string]any{
		"type":       "https://github.com/onlyonce/onlyonce/blob/main/docs/problems.md#" + string(code),
		"status":     float64(want.status),
		"code":       string(code),
		"retryable":  want.retryable,
		"key_action": want.keyAction,
	}, members)
}
