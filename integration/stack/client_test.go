package stack

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// client sends each request on a connection of its own: net/http repeats a request with an Idempotency-Key by itself when a
// connection breaks that was used before, and these tests count attempts.
var client = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// request is one that a client may send again.
type request struct {
	method, path, account, key string
	token, body                string // of the payments example; "": none, and a payment of amount
	ctx                        context.Context
}

// payment of an account with a key.
func payFor(account, key string) request {
	return request{method: http.MethodPost, path: "/payments", account: account, key: key}
}

func (r request) to(path string) request {
	r.path = path
	return r
}

// reply is what came back: an answer, or the error that stands for none.
type reply struct {
	status   int
	header   http.Header
	body     string
	replayed bool
	err      error
}

// code is that of a problem document, or "".
func (r reply) code() string {
	var problem struct{ Code string }
	_ = json.Unmarshal([]byte(r.body), &problem)
	return problem.Code
}

func (r reply) String() string {
	if r.err != nil {
		return "no answer"
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s", r.status, r.code()))
}

// again reports whether the client is to send the same request again.
func (r reply) again() bool {
	return r.err != nil || r.status == http.StatusConflict || r.status >= 500
}

// send sends the request once.
func (s *server) send(r request) reply {
	ctx := r.ctx
	if ctx == nil {
		bounded, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		ctx = bounded
	}
	sent, err := http.NewRequestWithContext(ctx, r.method, s.url+r.path, strings.NewReader(cmp.Or(r.body, `{"amount":100}`)))
	if err != nil {
		return reply{err: err}
	}
	if r.token != "" {
		sent.Header.Set("Authorization", "Bearer "+r.token)
	}
	sent.Header.Set("Content-Type", "application/json")
	sent.Header.Set("Account", r.account)
	if r.key != "" {
		sent.Header.Set("Idempotency-Key", r.key)
	}
	response, err := client.Do(sent)
	if err != nil {
		return reply{err: err}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return reply{
		status:   response.StatusCode,
		header:   response.Header,
		body:     string(body),
		replayed: response.Header.Get("Idempotent-Replayed") == "true",
		err:      err,
	}
}

// start sends the request in the background.
func (s *server) start(r request) <-chan reply {
	replies := make(chan reply, 1)
	go func() { replies <- s.send(r) }()
	return replies
}

// insist sends the request until there is an answer that stands, and returns it with what came before it.
func insist(t *testing.T, r request, servers ...*server) (reply, []reply) {
	t.Helper()
	got, before := persist(r, servers...)
	if got.again() {
		t.Fatalf("no answer that stands within %v; the last: %v", patience, got)
	}
	return got, before
}

// persist is insist for other goroutines than the test's: it returns the last answer, whether or not that stands.
func persist(r request, servers ...*server) (last reply, before []reply) {
	for end := time.Now().Add(patience); ; {
		got := servers[len(before)%len(servers)].send(r)
		if !got.again() || time.Now().After(end) {
			return got, before
		}
		before = append(before, got)
		time.Sleep(5 * time.Millisecond) // a client's pause, not a test's wait
	}
}

// result waits for the reply of a request that was started.
func result(t *testing.T, replies <-chan reply) reply {
	t.Helper()
	select {
	case r := <-replies:
		return r
	case <-time.After(patience):
		t.Fatalf("no reply within %v", patience)
		return reply{}
	}
}

// wantSame fails the test unless b repeats a: status, body, and where the result is.
func wantSame(t *testing.T, a, b reply) {
	t.Helper()
	require.NoError(t, a.err)
	require.NoError(t, b.err)
	assert.Equal(t, a.status, b.status)
	assert.Equal(t, a.body, b.body)
	for _, name := range []string{"Content-Type", "Location", "Content-Length"} {
		assert.Equal(t, a.header.Values(name), b.header.Values(name), name)
	}
}
