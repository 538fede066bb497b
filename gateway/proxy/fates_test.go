package proxy_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/gateway/proxy"
	"github.com/onlyonce/onlyonce/idempotency"
)

// What becomes of a request that was sent, and whose outcome nobody knows.
var unknowns = []struct {
	name    string
	act     func(c *conn)
	effects int
	status  int
	code    idempotency.Code
}{
	{"accepts and closes", func(*conn) {}, 0, 502, proxy.CodeUnknown},
	{"closes after the request", says(""), 1, 502, proxy.CodeUnknown},
	{"half a status line", says("HTTP/1.1 20"), 1, 502, proxy.CodeUnknown},
	{"a status line and no more", says("HTTP/1.1 201 Created\r\n"), 1, 502, proxy.CodeUnknown},
	{"headers, then cut", says("HTTP/1.1 201 Created\r\nContent-Length: 4\r\n\r\n"), 1, 502, proxy.CodeUnknown},
	{"cut in the middle of the body", says("HTTP/1.1 201 Created\r\nContent-Length: 4\r\n\r\npa"), 1, 502, proxy.CodeUnknown},
	{"cut between chunks", says("HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n2\r\npa\r\n"), 1, 502, proxy.CodeUnknown},
	{"no HTTP", says("paid, thank you\r\n\r\n"), 1, 502, proxy.CodeUnknown},
	{"no final status", says("HTTP/1.1 700 Paid\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"), 1, 502, proxy.CodeUnknown},
	{"another protocol", says("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: money\r\n\r\n"), 1, 502, proxy.CodeUnknown},
	{"headers without end", says("HTTP/1.1 201 Created\r\n" + strings.Repeat("X-More: "+strings.Repeat("x", 1000)+"\r\n", 100) + "\r\n"), 1, 502, proxy.CodeUnknown},
	{"hangs", hangs(""), 1, 504, proxy.CodeTimeout},
	{"hangs after an early hint", hangs("HTTP/1.1 103 Early Hints\r\n\r\n"), 1, 504, proxy.CodeTimeout},
	{"stalls after the headers", hangs("HTTP/1.1 201 Created\r\nContent-Length: 4\r\n\r\n"), 1, 504, proxy.CodeTimeout},
	{"stalls in the middle of the body", hangs("HTTP/1.1 201 Created\r\nContent-Length: 4\r\n\r\npa"), 1, 504, proxy.CodeTimeout},
	{"streams without end", hangs("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: paid\n\n"), 1, 504, proxy.CodeTimeout},
}

// patient is a time-out for what is answered.
const patient = "timeout: 10s"

// unknownAt has a request end without an outcome at an upstream that acts like this. The time-out is short where it is what the test waits for, and
// longer at each further try where the upstream had not even got the request by then.
func unknownAt(t *testing.T, act func(c *conn), effects int, code idempotency.Code, body string, settings ...string) (*clocked, *upstream, *gateway, answer) {
	t.Helper()
	for timeout := 300 * time.Millisecond; ; timeout *= 3 {
		lender, up := newClocked(t), newUpstream(t, act)
		within := patient
		if code == proxy.CodeTimeout {
			within = "timeout: " + timeout.String()
		}
		g := front(t, lender, configured(t, up.url(), append([]string{within}, settings...)...))
		first := g.post("k", body)
		if up.effects.Load() == int64(effects) || code != proxy.CodeTimeout || timeout > patience/3 {
			return lender, up, g, first
		}
	}
}

// bodies are requests with a body and without: http.Transport would repeat one without by itself.
var bodies = map[string]string{"with a body": `{"amount":1}`, "without": ""}

func TestAnUnknownOutcomeIsHeldUntilTheLeaseEnds(t *testing.T) {
	t.Parallel()
	for _, tt := range unknowns {
		for with, body := range bodies {
			t.Run(tt.name+" "+with, func(t *testing.T) {
				t.Parallel()
				lender, up, g, first := unknownAt(t, tt.act, tt.effects, tt.code, body, "lease: 1h")
				require.Contains(t, first.problem(tt.status, tt.code), "may or may not have taken effect")
				after, err := strconv.Atoi(first.header.Get("Retry-After"))
				require.NoError(t, err)
				require.InDelta(t, 3600, after, 30, "until the lease ends")
				require.Contains(t, first.header.Get("Proxy-Status"), "onlyonce; error=")
				up.hasEffects(tt.effects)

				up.then(says(created))
				require.NoError(t, g.proxy.Use(configured(t, up.url(), patient, "lease: 1h")))
				g.post("k", body).problem(http.StatusConflict, idempotency.CodeInProgress)
				lender.advance(time.Hour - time.Minute)
				g.post("k", body).problem(http.StatusConflict, idempotency.CodeInProgress)
				up.hasEffects(tt.effects)

				lender.advance(time.Minute)
				second := g.post("k", body).is(http.StatusCreated, "paid")
				up.hasEffects(tt.effects + 1)
				last := ""
				for range tt.effects + 1 {
					last = <-up.attempts
				}
				require.Equal(t, "2", last, "the upstream is told that it may have done this before")
				g.post("k", body).replays(second)
				up.hasEffects(tt.effects + 1)
			})
		}
	}
}

func TestAnUnknownOutcomeIsReleasedWhereThatIsThePolicy(t *testing.T) {
	t.Parallel()
	for _, tt := range unknowns {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, up, g, first := unknownAt(t, tt.act, tt.effects, tt.code, "{}", "lease: 1h", "unknown: release")
			require.Contains(t, first.problem(tt.status, tt.code), "may then be done once more")
			require.Equal(t, "1", first.header.Get("Retry-After"))
			up.then(says(created))
			require.NoError(t, g.proxy.Use(configured(t, up.url(), patient, "lease: 1h", "unknown: release")))
			g.post("k", "{}").is(http.StatusCreated, "paid")
			up.hasEffects(tt.effects + 1)
		})
	}
}

// closedPort is an address at which nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	return listener.Addr().String()
}

func TestWhatWasSurelyNotSentFreesTheKeyAtOnce(t *testing.T) {
	t.Parallel()
	plain := newUpstream(t, func(c *conn) { c.take() }) // which does not understand TLS
	for name, tt := range map[string]struct{ upstream, cause, protocol string }{
		"refused":                         {"http://" + closedPort(t), "connection_refused", "http1"},
		"refused, by HTTP/2":              {"http://" + closedPort(t), "connection_refused", "http2"},
		"no such host":                    {"http://nowhere.invalid", "dns_error", "http1"},
		"the handshake failed":            {strings.Replace(plain.url(), "http:", "https:", 1), "", "http1"},
		"the handshake failed, by HTTP/2": {strings.Replace(plain.url(), "http:", "https:", 1), "", "http2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lender := newClocked(t)
			g := front(t, lender, configured(t, tt.upstream, "lease: 1h", "timeout: 5s", "upstream_protocol: "+tt.protocol))
			for range 2 { // also the second time: it is not in progress
				first := g.post("k", "{}")
				require.Contains(t, first.problem(http.StatusBadGateway, proxy.CodeUnreachable), "not sent")
				require.Equal(t, "1", first.header.Get("Retry-After"))
				require.Contains(t, first.header.Get("Proxy-Status"), "onlyonce; error="+tt.cause)
			}
			up := newUpstream(t, says(created))
			require.NoError(t, g.proxy.Use(configured(t, up.url(), "lease: 1h", "timeout: 5s")))
			g.post("k", "{}").is(http.StatusCreated, "paid")
			require.Equal(t, "1", <-up.attempts, "nothing was left without an outcome")
		})
	}
	plain.hasEffects(0)
}

func TestWhatAnUpstreamAnswersDecidesWhatIsKept(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		status   int
		settings []string
		kept     bool
	}{
		{200, nil, true}, {201, nil, true}, {303, nil, true}, {402, nil, true}, {404, nil, true}, {422, nil, true},
		{408, nil, false}, {409, nil, false}, {425, nil, false}, {429, nil, false}, {500, nil, false}, {502, nil, false}, {504, nil, false},
		{409, []string{"keep: [409]"}, true}, {500, []string{"keep: [5xx]"}, true}, {503, []string{"keep: [5xx]", "release: [503]"}, false},
		{422, []string{"release: [4xx]"}, false}, {404, []string{"release: [4xx]", "keep: [404]"}, true}, {502, []string{"keep: [502]"}, true},
	} {
		t.Run(strconv.Itoa(tt.status)+" "+strings.Join(tt.settings, " "), func(t *testing.T) {
			t.Parallel()
			up := newUpstream(t, says("HTTP/1.1 "+strconv.Itoa(tt.status)+" Said\r\nContent-Length: 4\r\nConnection: close\r\nProxy-Status: onlyonce; error=spoofed\r\n\r\nsaid"))
			g := front(t, newClocked(t), configured(t, up.url(), tt.settings...))
			first := g.post("k", "{}").is(tt.status, "said")
			require.Empty(t, first.header.Get("Proxy-Status"), "it is the proxy's to set")
			second := g.post("k", "{}")
			if tt.kept {
				second.replays(first)
				up.hasEffects(1)
			} else {
				second.is(tt.status, "said")
				up.hasEffects(2)
			}
		})
	}
}

func TestAStatusThatSaysThatNobodyKnowsIsHeld(t *testing.T) {
	t.Parallel()
	lender, up := newClocked(t), newUpstream(t, says("HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 4\r\nConnection: close\r\n\r\nwhat"))
	g := front(t, lender, configured(t, up.url(), "unknown_statuses: [504]", "timeout: 5s", "lease: 1h"))
	g.post("k", "{}").is(http.StatusGatewayTimeout, "what")
	g.post("k", "{}").problem(http.StatusConflict, idempotency.CodeInProgress)
	up.hasEffects(1)
	lender.advance(time.Hour)
	g.post("k", "{}").is(http.StatusGatewayTimeout, "what")
	up.hasEffects(2)
}

func TestAStatusThatSaysThatNobodyKnowsIsHeldAlsoWhereTheAnswerIsTooLarge(t *testing.T) {
	t.Parallel()
	lender, up := newClocked(t), newUpstream(t, says("HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 2000\r\nConnection: close\r\n\r\n"+strings.Repeat("x", 2000)))
	g := front(t, lender, configured(t, up.url(), "unknown_statuses: [504]", "timeout: 5s", "lease: 1h", "max_response_bytes: 1KiB"))
	first := g.post("k", "{}")
	require.Contains(t, first.problem(http.StatusBadGateway, idempotency.CodeResponseTooLarge), "may or may not have taken effect")
	require.NotEmpty(t, first.header.Get("Retry-After"))
	g.post("k", "{}").problem(http.StatusConflict, idempotency.CodeInProgress)
	up.hasEffects(1)
	lender.advance(time.Hour)
	g.post("k", "{}").problem(http.StatusBadGateway, idempotency.CodeResponseTooLarge)
	up.hasEffects(2)
}

// The upstream has done it: neither may it be done again, nor can a retry get the answer. So both get one that says so.
func TestAnAnswerThatIsTooLargeIsReplacedByOneThatSaysSo(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", 2000)
	for name, text := range map[string]string{
		"announced":                  "HTTP/1.1 201 Created\r\nContent-Length: 2000\r\n\r\n" + large,
		"announced, and no more":     "HTTP/1.1 201 Created\r\nContent-Length: 2000\r\n\r\n",
		"by a byte":                  "HTTP/1.1 201 Created\r\nContent-Length: 1025\r\n\r\n" + large[:1025],
		"chunked":                    "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n" + large + "\r\n0\r\n\r\n",
		"until the connection's end": "HTTP/1.1 201 Created\r\n\r\n" + large,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up := newUpstream(t, says(text))
			g := front(t, newClocked(t), configured(t, up.url(), "max_response_bytes: 1KiB"))
			first := g.post("k", "{}")
			require.Contains(t, first.problem(http.StatusBadGateway, idempotency.CodeResponseTooLarge), "was carried out")
			g.post("k", "{}").replays(first)
			g.post("k", "{}").replays(first)
			up.hasEffects(1)
		})
	}
	t.Run("not by a byte", func(t *testing.T) {
		t.Parallel()
		up := newUpstream(t, says("HTTP/1.1 201 Created\r\nContent-Length: 1024\r\n\r\n"+large[:1024]))
		g := front(t, newClocked(t), configured(t, up.url(), "max_response_bytes: 1KiB"))
		g.post("k", "{}").is(http.StatusCreated, large[:1024])
	})
	t.Run("of a status that is not kept", func(t *testing.T) {
		t.Parallel()
		up := newUpstream(t, says("HTTP/1.1 500 Oops\r\nContent-Length: 2000\r\nConnection: close\r\n\r\n"+large))
		g := front(t, newClocked(t), configured(t, up.url(), "max_response_bytes: 1KiB"))
		for range 2 {
			require.Contains(t, g.post("k", "{}").problem(http.StatusBadGateway, idempotency.CodeResponseTooLarge), "refused or failed")
		}
		up.hasEffects(2)
	})
}

func TestManyHeadersOfAnAnswerAreKeptWithIt(t *testing.T) {
	t.Parallel()
	up := newUpstream(t, says("HTTP/1.1 201 Created\r\nLink: "+strings.Repeat("<a>, ", 6000)+"<b>\r\nX-Secret: 1\r\nContent-Length: 0\r\n\r\n"))
	g := front(t, newClocked(t), configured(t, up.url()))
	first := g.post("k", "{}").is(http.StatusCreated, "")
	second := g.post("k", "{}")
	second.replays(first)
	require.Equal(t, first.header.Get("Link"), second.header.Get("Link"))
	require.Equal(t, "1", first.header.Get("X-Secret"))
	require.Empty(t, second.header.Get("X-Secret"), "it is not on the list")
	up.hasEffects(1)
}

func TestAClientThatLeavesIsAnsweredByAReplay(t *testing.T) {
	t.Parallel()
	taken, goOn := make(chan struct{}, 2), make(chan struct{})
	up := newUpstream(t, func(c *conn) {
		if c.take() == nil {
			return
		}
		taken <- struct{}{}
		<-goOn
		c.say("%s", created)
	})
	left := make(chan struct{})
	var leaving sync.Once
	g := front(t, newClocked(t), configured(t, up.url(), "wait: 10s"), func(s *httptest.Server) {
		next := s.Config.Handler
		s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			context.AfterFunc(r.Context(), func() { leaving.Do(func() { close(left) }) })
			next.ServeHTTP(w, r)
		})
	})
	client, err := net.Dial("tcp", g.Listener.Addr().String())
	require.NoError(t, err)
	request := g.request("k", "{}")
	require.NoError(t, request.Write(client))
	<-taken
	require.NoError(t, client.Close())
	<-left
	answers := make(chan answer, 1)
	go func() { answers <- g.send(g.request("k", "{}")) }()
	close(goOn)
	got := <-answers
	got.is(http.StatusCreated, "paid")
	require.Equal(t, "true", got.header.Get("Idempotent-Replayed"))
	up.hasEffects(1)
}
