package proxy_test

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/gateway/proxy"
	"github.com/onlyonce/onlyonce/idempotency"
)

func TestAProtectedRouteRefusesToStreamBeforeAnythingIsDone(t *testing.T) {
	t.Parallel()
	up := newUpstream(t, says(created))
	g := front(t, newClocked(t), configured(t, up.url()))
	for _, header := range [][2]string{
		{"Upgrade", "websocket"}, {"Accept", "text/event-stream"}, {"Accept", "Text/Event-Stream;q=0.9"}, {"Content-Type", "application/grpc+proto"},
	} {
		r := g.request("k", "{}")
		r.Header.Set(header[0], header[1])
		if header[0] == "Upgrade" {
			r.Header.Set("Connection", "Upgrade")
		}
		require.Contains(t, g.send(r).problem(http.StatusBadRequest, proxy.CodeStreaming), "not processed")
	}
	up.hasEffects(0)
	r := g.request("k", "{}")
	r.Header.Set("Accept", "application/json, text/event-stream") // whoever takes both is answered once
	g.send(r).is(http.StatusCreated, "paid")
	up.hasEffects(1)
}

// Java's HttpClient offers HTTP/2 with each first request in plain text, and takes an answer by HTTP/1.1.
func TestAnOfferOfHTTP2IsNotTakenAndNotPassedOn(t *testing.T) {
	t.Parallel()
	for _, settings := range [][]string{nil, {"protect: off"}} {
		seen := make(chan http.Header, 1)
		up := newUpstream(t, func(c *conn) {
			if r := c.take(); r != nil {
				seen <- r.Header
				c.say("%s", created)
			}
		})
		g := front(t, newClocked(t), configured(t, up.url(), settings...))
		r := g.request("k", "{}")
		r.Header.Set("Connection", "Upgrade, HTTP2-Settings")
		r.Header.Set("Upgrade", "h2c")
		r.Header.Set("HTTP2-Settings", "AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA")
		g.send(r).is(http.StatusCreated, "paid")
		got := <-seen
		require.Empty(t, got.Get("Upgrade")+got.Get("HTTP2-Settings")+got.Get("Connection"), "who goes on in HTTP/2 with the upstream goes past the proxy")
	}
}

func TestWhatIsNotProtectedStreams(t *testing.T) {
	t.Parallel()
	for name, settings := range map[string][]string{
		"a route that is off":              {"protect: off"},
		"a method that is not on the list": {"methods: [PUT]"},
		"no key where none is needed":      {"protect: optional"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			goOn := make(chan struct{})
			up := newUpstream(t, func(c *conn) {
				if c.take() == nil {
					return
				}
				c.say("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\ndata: one\n")
				select {
				case <-goOn:
					c.say("data: two\n")
				case <-c.up.Context().Done():
				}
			})
			g := front(t, newClocked(t), configured(t, up.url(), settings...))
			g.Client().Timeout = patience
			response, err := g.Client().Do(g.request("", "{}"))
			require.NoError(t, err)
			defer response.Body.Close()
			lines := bufio.NewScanner(response.Body)
			require.True(t, lines.Scan())
			require.Equal(t, "data: one", lines.Text(), "before the answer has ended")
			close(goOn)
			require.True(t, lines.Scan())
			require.Equal(t, "data: two", lines.Text())
			up.hasEffects(1)
		})
	}
}

func TestAnUpgradePassesWhereNothingIsProtected(t *testing.T) {
	t.Parallel()
	up := newUpstream(t, func(c *conn) {
		if c.take() == nil {
			return
		}
		c.say("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		line, _ := c.ReadString('\n')
		c.say("%s", line)
	})
	g := front(t, newClocked(t), configured(t, up.url(), "protect: off"))
	r := g.request("", "")
	r.Method = http.MethodGet
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "echo")
	response, err := (&http.Transport{}).RoundTrip(r)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, response.StatusCode)
	both := response.Body.(interface {
		Write([]byte) (int, error)
		Read([]byte) (int, error)
		Close() error
	})
	defer both.Close()
	_, err = both.Write([]byte("hello\n"))
	require.NoError(t, err)
	line, err := bufio.NewReader(both).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "hello\n", line)
}

func TestWhatPassesThroughAndFailsSaysWhetherItWasSent(t *testing.T) {
	t.Parallel()
	up := newUpstream(t, says(""))
	g := front(t, newClocked(t), configured(t, up.url(), "protect: off"))
	require.Contains(t, g.post("", "{}").problem(http.StatusBadGateway, proxy.CodeUnknown), "no idempotency key")
	g = front(t, newClocked(t), configured(t, "http://"+closedPort(t), "protect: off"))
	require.Contains(t, g.post("", "{}").problem(http.StatusBadGateway, proxy.CodeUnreachable), "not sent")
}

func TestTheServersTimeForAnAnswerGivesWayToTheRoutes(t *testing.T) {
	t.Parallel()
	up := newUpstream(t, says(created))
	for _, settings := range [][]string{nil, {"protect: off"}} {
		g := front(t, newClocked(t), configured(t, up.url(), settings...), func(s *httptest.Server) { s.Config.WriteTimeout = time.Nanosecond })
		g.post("k", "{}").is(http.StatusCreated, "paid")
	}
}

func TestAKeyIsNeededWhereItIsRequired(t *testing.T) {
	t.Parallel()
	up := newUpstream(t, says(created))
	g := front(t, newClocked(t), configured(t, up.url(), "max_request_bytes: 1KiB"))
	require.Equal(t, http.StatusBadRequest, g.post("", "{}").status)
	nobody := g.request("k", "{}")
	nobody.Header.Del("X-Account")
	g.send(nobody).problem(http.StatusForbidden, idempotency.CodeScopeMissing)
	two := g.request("k", "{}")
	two.Header.Add("X-Account", "bob")
	g.send(two).problem(http.StatusForbidden, idempotency.CodeScopeMissing)
	g.post("k", string(make([]byte, 1025))).problem(http.StatusRequestEntityTooLarge, idempotency.CodeRequestTooLarge)
	up.hasEffects(0)
	first := g.post("k", "{}").is(http.StatusCreated, "paid")
	bob := g.request("k", "{}")
	bob.Header.Set("X-Account", "bob")
	require.Empty(t, g.send(bob).is(http.StatusCreated, "paid").header.Get("Idempotent-Replayed"), "bob's key is his own")
	g.post("k", "{}").replays(first)
	require.Equal(t, http.StatusUnprocessableEntity, g.post("k", "[]").status)
	up.hasEffects(2)
}

func TestARetryWaitsForTheOneThatIsAtWork(t *testing.T) {
	t.Parallel()
	taken, goOn := make(chan struct{}, 2), make(chan struct{})
	release := sync.OnceFunc(func() { close(goOn) })
	defer release() // also where the test fails
	up := newUpstream(t, func(c *conn) {
		if c.take() != nil {
			taken <- struct{}{}
			<-goOn
			c.say("%s", created)
		}
	})
	lender := newClocked(t)
	g, other := front(t, lender, configured(t, up.url(), "wait: 20s")), front(t, lender, configured(t, up.url(), "wait: 20s"))
	answers := make(chan answer, 2)
	go func() { answers <- g.post("k", "{}") }()
	<-taken
	go func() { answers <- other.post("k", "{}") }()
	select {
	case <-answers:
		t.Fatal("answered before the upstream was done")
	case <-time.After(50 * time.Millisecond):
	}
	release()
	for range 2 {
		(<-answers).is(http.StatusCreated, "paid")
	}
	up.hasEffects(1)
}
