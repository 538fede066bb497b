package plugin_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/gateway/kong/internal/kongtest"
	"github.com/onlyonce/onlyonce/gateway/kong/plugin"
	"github.com/onlyonce/onlyonce/idempotency"
)

func TestARequestThatCannotBeProtectedIsRefused(t *testing.T) {
	t.Parallel()
	no := false
	for _, c := range []struct {
		name   string
		config *plugin.Config
		change func(r *kongtest.Request)
		status int
		code   string
	}{
		{"without a key", &plugin.Config{}, func(r *kongtest.Request) { delete(r.Header, "idempotency-key") }, 400, "key-missing"},
		{"with two keys", &plugin.Config{}, func(r *kongtest.Request) { r.Header["idempotency-key"] = []string{"a", "b"} }, 400, "key-invalid"},
		{"with a list of keys", &plugin.Config{}, func(r *kongtest.Request) { r.Header["idempotency-key"] = []string{"a, b"} }, 400, "key-invalid"},
		{"with keys in two headers", &plugin.Config{Headers: []string{"Idempotency-Key", "X-Key"}},
			func(r *kongtest.Request) { r.Header["x-key"] = []string{"b"} }, 400, "key-invalid"},
		{"with a key that is no text", &plugin.Config{}, func(r *kongtest.Request) { r.Header["idempotency-key"] = []string{"\xff"} }, 400, "key-invalid"},
		{"with a key that is too long", &plugin.Config{}, func(r *kongtest.Request) { r.Header["idempotency-key"] = []string{strings.Repeat("k", 256)} }, 400, "key-invalid"},
		{"with a wrong key where it is optional", &plugin.Config{Required: &no}, func(r *kongtest.Request) { r.Header["idempotency-key"] = []string{""} }, 400, "key-invalid"},
		{"by nobody", &plugin.Config{}, func(r *kongtest.Request) { r.Consumer = "" }, 403, "scope-missing"},
		{"by a consumer without a name", &plugin.Config{ScopeSource: "username"}, func(r *kongtest.Request) { r.Username = "" }, 403, "scope-missing"},
		{"without a credential", &plugin.Config{ScopeSource: "credential"}, func(r *kongtest.Request) { r.Credential = "" }, 403, "scope-missing"},
		{"without the scope's header", &plugin.Config{ScopeSource: "header", ScopeHeader: "X-Account"}, func(*kongtest.Request) {}, 403, "scope-missing"},
		{"with two of the scope's header", &plugin.Config{ScopeSource: "header", ScopeHeader: "X-Account"},
			func(r *kongtest.Request) { r.Header["x-account"] = []string{"a", "b"} }, 403, "scope-missing"},
		{"with a scope that is no text", &plugin.Config{ScopeSource: "header", ScopeHeader: "X-Account"},
			func(r *kongtest.Request) { r.Header["x-account"] = []string{"\xff"} }, 403, "scope-missing"},
		{"with a body over the limit", &plugin.Config{MaxBody: 14}, func(*kongtest.Request) {}, 413, "request-too-large"},
		{"with a body over the limit, in a file", &plugin.Config{MaxBody: 14}, func(r *kongtest.Request) { r.InFile = true }, 413, "request-too-large"},
		{"with a length over the limit", &plugin.Config{MaxBody: 20}, func(r *kongtest.Request) { r.Header["content-length"] = []string{"21"} }, 413, "request-too-large"},
		{"by HTTP/2", &plugin.Config{}, func(r *kongtest.Request) { r.Version = 2 }, 501, "protocol-unsupported"},
		{"to become a WebSocket", &plugin.Config{}, func(r *kongtest.Request) { r.Header["upgrade"] = []string{"WebSocket"} }, 501, "protocol-unsupported"},
		{"with more headers than Kong tells", &plugin.Config{}, func(r *kongtest.Request) {
			for i := range 997 {
				r.Header[fmt.Sprintf("x-%d", i)] = []string{""}
			}
		}, 400, "request-unreadable"},
		{"with a path that cannot be parsed", &plugin.Config{}, func(r *kongtest.Request) { r.Target = "/%zz" }, 400, "request-unreadable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := begin(t, c.config)
			request := payment()
			c.change(&request)
			got := w.do(request)
			wantProblem(t, got, c.status, c.code)
			assert.Equal(t, free, w.state(k1))
		})
	}
}

func TestARequestThatNeedsNoProtectionPassesUntouched(t *testing.T) {
	t.Parallel()
	no := false
	for _, c := range []struct {
		name   string
		config *plugin.Config
		change func(r *kongtest.Request)
	}{
		{"GET", &plugin.Config{}, func(r *kongtest.Request) { r.Method = "GET" }},
		{"a method that is not on the list", &plugin.Config{Methods: []string{"PUT"}}, func(*kongtest.Request) {}},
		{"no key where it is optional", &plugin.Config{Required: &no}, func(r *kongtest.Request) { delete(r.Header, "idempotency-key") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := begin(t, c.config)
			request := payment()
			c.change(&request)
			for range 2 {
				got := w.do(request)
				assert.True(t, got.Passed)
				assert.Equal(t, 201, got.Client.Status)
				assert.Empty(t, got.Shared)
			}
			assert.Empty(t, w.Logged())
		})
	}
}

func TestAKeyIsOfItsScope(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		config *plugin.Config
		scope  string
		other  func(r *kongtest.Request) // somebody else; nil: there is nobody
	}{
		{&plugin.Config{}, "consumer:acme", func(r *kongtest.Request) { r.Consumer = "globex" }},
		{&plugin.Config{ScopeSource: "consumer"}, "consumer:acme", func(r *kongtest.Request) { r.Consumer = "globex" }},
		{&plugin.Config{ScopeSource: "username"}, "username:Acme Ltd.", func(r *kongtest.Request) { r.Username = "Globex" }},
		{&plugin.Config{ScopeSource: "credential"}, "credential:cred-1", func(r *kongtest.Request) { r.Credential = "cred-2" }},
		{&plugin.Config{ScopeSource: "header", ScopeHeader: "x-account"}, "4711", func(r *kongtest.Request) { r.Header["x-account"] = []string{"4712"} }},
		{&plugin.Config{ScopeSource: "shared"}, idempotency.SharedScope, nil},
	} {
		t.Run(c.config.ScopeSource, func(t *testing.T) {
			t.Parallel()
			w := begin(t, c.config)
			request := payment()
			request.Header["x-account"] = []string{"4711"}
			require.True(t, w.do(request).Passed)
			assert.Equal(t, completed, w.state(idempotency.Key{Scope: c.scope, Value: "k1"}))
			if c.other != nil {
				c.other(&request)
				assert.True(t, w.do(request).Passed, "somebody else was answered with what was stored")
			}
		})
	}
}

func TestOneKeyIsOneRequest(t *testing.T) {
	t.Parallel()
	w := begin(t, &plugin.Config{FingerprintHeaders: []string{"X-Version"}})
	first := w.do(payment())
	for name, change := range map[string]func(r *kongtest.Request){
		"method":  func(r *kongtest.Request) { r.Method = "PATCH" },
		"path":    func(r *kongtest.Request) { r.Target = "/v1/payment?currency=eur" },
		"query":   func(r *kongtest.Request) { r.Target = "/v1/payments?currency=usd" },
		"media":   func(r *kongtest.Request) { r.Header["content-type"] = []string{"text/plain"} },
		"body":    func(r *kongtest.Request) { r.Body = []byte(`{"amount": 101}`) },
		"header":  func(r *kongtest.Request) { r.Header["x-version"] = []string{"2"} },
		"no body": func(r *kongtest.Request) { r.Body = nil },
	} {
		request := payment()
		change(&request)
		got := w.do(request)
		wantProblem(t, got, 422, "key-reused")
		assert.Equal(t, completed, w.state(k1), name)
	}
	for name, change := range map[string]func(r *kongtest.Request){
		"a quoted key":      func(r *kongtest.Request) { r.Header["idempotency-key"] = []string{`"k1"`} },
		"another parameter": func(r *kongtest.Request) { r.Header["content-type"] = []string{"Application/JSON"} },
		"in a file":         func(r *kongtest.Request) { r.InFile = true },
		"other headers":     func(r *kongtest.Request) { r.Header["user-agent"] = []string{"M\xfcnchen"} },
	} {
		request := payment()
		change(&request)
		t.Log(name)
		wantReplay(t, w.do(request), first.Client)
	}
	assert.Equal(t, 1, w.Passed())
}

func TestJSONIsComparedByWhatItSaysWhereConfigured(t *testing.T) {
	t.Parallel()
	for canonical, status := range map[bool]int{true: 201, false: 422} {
		w := begin(t, &plugin.Config{CanonicalJSON: canonical})
		request := payment()
		request.Body = []byte(`{"a": 1, "b": 2}`)
		w.do(request)
		request.Body = []byte(`{"b":2,"a":1}`)
		assert.Equal(t, status, w.do(request).Client.Status)
		request.Body = []byte(`{"b":2,"a":2}`)
		assert.Equal(t, 422, w.do(request).Client.Status)
	}
}

func TestTheServiceLearnsTheNumberOfTheAttemptAndNotWhatTheClientSays(t *testing.T) {
	t.Parallel()
	w := begin(t, &plugin.Config{})
	w.Service = func(request kongtest.Request) kongtest.Answer {
		assert.Equal(t, map[string]string{"Idempotency-Attempt": "1"}, request.ForService)
		return created(1)
	}
	request := payment()
	request.Header["idempotency-attempt"] = []string{"7"}
	assert.True(t, w.do(request).Passed)
}

func TestABodyThatNginxPutIntoAFileIsTheSameBody(t *testing.T) {
	t.Parallel()
	w := begin(t, &plugin.Config{})
	request := payment()
	request.Body = bytes.Repeat([]byte("0123456789abcdef"), 40<<10/16)
	request.InFile = true
	first := w.do(request)
	require.True(t, first.Passed)
	request.InFile = false
	wantReplay(t, w.do(request), first.Client)
	request.InFile = true
	request.Body[len(request.Body)-1]++
	wantProblem(t, w.do(request), 422, "key-reused")
}

func TestOfTwoRequestsAtOnceTheServiceGetsOne(t *testing.T) {
	t.Parallel()
	for wait, want := range map[int]int{0: 409, 20_000: 201} {
		w := begin(t, &plugin.Config{WaitMS: wait})
		arrived, goOn := make(chan struct{}), make(chan struct{})
		w.Service = func(kongtest.Request) kongtest.Answer {
			close(arrived)
			<-goOn
			return created(1)
		}
		ended := make(chan kongtest.Result)
		go func() { ended <- w.do(payment()) }()
		<-arrived
		if wait > 0 {
			w.store.inProgress = sync.OnceFunc(func() { close(goOn) })
		}
		second := w.do(payment())
		assert.False(t, second.Passed)
		assert.Equal(t, want, second.Client.Status)
		if wait == 0 {
			close(goOn)
		}
		assert.Equal(t, 201, (<-ended).Client.Status)
		assert.Equal(t, 1, w.Passed())
	}
}
