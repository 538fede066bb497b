package proxy_test

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/gateway/proxy"
	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/memstore"
)

// patience bounds what must happen soon, so that a test that fails does not hang.
const patience = 20 * time.Second

// clocked is a store in memory whose clock is moved by hand.
type clocked struct {
	*memstore.Store
	ahead atomic.Int64
}

func newClocked(t *testing.T) *clocked {
	t.Helper()
	c := &clocked{}
	var err error
	c.Store, err = memstore.New(memstore.Config{Now: func() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }})
	require.NoError(t, err)
	return c
}

func (c *clocked) advance(by time.Duration) { c.ahead.Add(int64(by)) }

var quiet = slog.New(slog.DiscardHandler)

// configured is a configuration of one route, to upstream, with further settings.
func configured(t *testing.T, upstream string, settings ...string) *proxy.Config {
	t.Helper()
	config, err := proxy.Parse([]byte(file(upstream, settings...)))
	require.NoError(t, err)
	return config
}

func file(upstream string, settings ...string) string {
	text := "store: {url: 'memory:'}\nroutes:\n  - patterns: [/]\n    upstream: " + upstream + "\n    scope: {from: header, header: X-Account}\n"
	for _, setting := range settings {
		text += "    " + setting + "\n"
	}
	return text
}

// gateway is a proxy behind a real listener.
type gateway struct {
	*testing.T
	*httptest.Server
	proxy *proxy.Proxy
}

func front(t *testing.T, lender idempotency.Leaser, config *proxy.Config, change ...func(*httptest.Server)) *gateway {
	t.Helper()
	p, err := proxy.New(lender, config, proxy.Options{Logger: quiet})
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(p)
	for _, c := range change {
		c(server)
	}
	if server.TLS == nil {
		server.Start()
	} else {
		server.StartTLS()
	}
	t.Cleanup(server.Close)
	return &gateway{t, server, p}
}

// answer is what a client got.
type answer struct {
	*testing.T
	status int
	header http.Header
	body   string
}

func (g *gateway) request(key, body string) *http.Request {
	g.Helper()
	r, err := http.NewRequestWithContext(g.Context(), http.MethodPost, g.URL+"/payments", strings.NewReader(body))
	require.NoError(g, err)
	r.Header.Set("X-Account", "alice")
	r.Header.Set("Content-Type", "application/json")
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	return r
}

// send sends a request once: on a connection of its own, since http.Transport repeats such a request by itself.
func (g *gateway) send(r *http.Request) answer {
	g.Helper()
	transport := g.Client().Transport.(*http.Transport).Clone()
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(r)
	require.NoError(g, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(g, err)
	return answer{g.T, response.StatusCode, response.Header, string(body)}
}

func (g *gateway) post(key, body string) answer {
	g.Helper()
	return g.send(g.request(key, body))
}

func (a answer) is(status int, body string) answer {
	a.Helper()
	require.Equal(a, status, a.status, a.body)
	require.Equal(a, body, a.body)
	return a
}

func (a answer) replays(first answer) {
	a.Helper()
	a.is(first.status, first.body)
	require.Equal(a, "true", a.header.Get("Idempotent-Replayed"))
}

// problem checks an answer of the proxy's own, and returns its detail.
func (a answer) problem(status int, code idempotency.Code) (detail string) {
	a.Helper()
	require.Equal(a, status, a.status, a.body)
	require.Equal(a, "application/problem+json", a.header.Get("Content-Type"))
	var got struct {
		Type, Title, Detail, Code string
		Status                    int
		KeyAction                 string `json:"key_action"`
	}
	require.NoError(a, json.Unmarshal([]byte(a.body), &got))
	require.Equal(a, string(code), got.Code, a.body)
	require.Equal(a, status, got.Status)
	require.Contains(a, got.Type, "problems.md#"+string(code))
	require.Equal(a, "reuse", got.KeyAction)
	require.NotEmpty(a, got.Title)
	return got.Detail
}

// upstream is one that is controlled byte by byte. It counts the requests that it has read to their end: its effects.
type upstream struct {
	*testing.T
	listener net.Listener
	effects  atomic.Int64
	attempts chan string
	act      atomic.Pointer[func(c *conn)]
	open     sync.WaitGroup
}

// conn is a connection to an upstream.
type conn struct {
	net.Conn
	*bufio.Reader
	up *upstream
}

func newUpstream(t *testing.T, act func(c *conn)) *upstream {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	u := &upstream{T: t, listener: listener, attempts: make(chan string, 100)}
	u.act.Store(&act)
	u.open.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			u.open.Go(func() {
				defer c.Close()
				(*u.act.Load())(&conn{c, bufio.NewReader(c), u})
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		u.open.Wait()
	})
	return u
}

func (u *upstream) url() string { return "http://" + u.listener.Addr().String() }

func (u *upstream) then(act func(c *conn)) { u.act.Store(&act) }

// take reads a request: from here on the work is done. It is nil where there is none.
func (c *conn) take() *http.Request {
	_ = c.SetReadDeadline(time.Now().Add(patience))
	r, err := http.ReadRequest(c.Reader)
	if err != nil {
		return nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil
	}
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	c.up.effects.Add(1)
	select {
	case c.up.attempts <- r.Header.Get("Idempotency-Attempt"):
	default:
	}
	return r
}

func (c *conn) say(text string, args ...any) { _, _ = fmt.Fprintf(c.Conn, text, args...) }

// says takes a request, answers by this text, and closes.
func says(text string) func(c *conn) {
	return func(c *conn) {
		if c.take() != nil {
			c.say("%s", text)
		}
	}
}

// hangs says a text and no more, until the test is over.
func hangs(text string) func(c *conn) {
	return func(c *conn) {
		if c.take() != nil {
			c.say("%s", text)
			<-c.up.Context().Done()
		}
	}
}

const created = "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 4\r\nConnection: close\r\n\r\npaid"

func (u *upstream) hasEffects(want int) {
	u.Helper()
	require.EqualValues(u, want, u.effects.Load(), "effects at the upstream")
}

var silent = log.New(io.Discard, "", 0)

// tlsConfig has httptest.Server serve by TLS.
func tlsConfig() *tls.Config { return &tls.Config{MinVersion: tls.VersionTLS12} }
