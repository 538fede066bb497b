package proxy_test

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/gateway/proxy"
	"github.com/onlyonce/onlyonce/idempotency"
)

// stale answers the first request of a connection, and takes the second one without an answer, as an upstream does that dies, or closes a
// connection just then. Where a request is sent once more, on a new connection, it is answered again.
func stale(c *conn) {
	if c.take() == nil {
		return
	}
	c.say("HTTP/1.1 201 Created\r\nContent-Length: 4\r\n\r\npaid")
	c.take()
}

// http.Transport sends a request with an Idempotency-Key again by itself when a connection breaks that was used before: see the control.
func TestARequestIsSentOnceAlsoWhereAUsedConnectionBreaks(t *testing.T) {
	t.Parallel()
	for with, body := range bodies {
		for _, header := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
			t.Run(header+" "+with, func(t *testing.T) {
				t.Parallel()
				up := newUpstream(t, stale)
				g := front(t, newClocked(t), configured(t, up.url(), "key_headers: ["+header+"]", "idle_timeout: 1m"))
				post := func(key string) answer {
					r := g.request("", body)
					r.Header.Set(header, key)
					return g.send(r)
				}
				post("first").is(http.StatusCreated, "paid")
				post("second").problem(http.StatusBadGateway, proxy.CodeUnknown)
				up.hasEffects(2)
				post("second").problem(http.StatusConflict, idempotency.CodeInProgress)
				up.hasEffects(2)
			})
		}
	}
	t.Run("the control: a transport by itself", func(t *testing.T) {
		t.Parallel()
		up := newUpstream(t, stale)
		client := &http.Client{Transport: &http.Transport{}}
		for range 2 {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, up.url(), nil)
			require.NoError(t, err)
			r.Header.Set("Idempotency-Key", "k")
			response, err := client.Do(r)
			require.NoError(t, err)
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
		}
		up.hasEffects(3)
		client.CloseIdleConnections()
	})
	t.Run("what passes through", func(t *testing.T) {
		t.Parallel()
		up := newUpstream(t, stale)
		g := front(t, newClocked(t), configured(t, up.url(), "protect: off", "idle_timeout: 1m"))
		g.post("k", "").is(http.StatusCreated, "paid")
		g.post("k", "").problem(http.StatusBadGateway, proxy.CodeUnknown)
		up.hasEffects(2)
	})
}

func TestAFreshConnectionForEachRequestIsNeverStale(t *testing.T) {
	t.Parallel()
	up := newUpstream(t, stale)
	g := front(t, newClocked(t), configured(t, up.url(), "connections: fresh"))
	for _, key := range []string{"1", "2", "3"} {
		g.post(key, "").is(http.StatusCreated, "paid")
	}
	up.hasEffects(3)
}

func TestTheUpstreamsConnectionsAreUsedAgain(t *testing.T) {
	t.Parallel()
	var connections atomic.Int64
	ended := make(chan struct{}, 10)
	up := newUpstream(t, func(c *conn) {
		connections.Add(1)
		defer func() { ended <- struct{}{} }()
		for c.take() != nil {
			c.say("HTTP/1.1 201 Created\r\nContent-Length: 4\r\n\r\npaid")
		}
	})
	g := front(t, newClocked(t), configured(t, up.url(), "idle_timeout: 1m"))
	for _, key := range []string{"1", "2", "3"} {
		g.post(key, "{}").is(http.StatusCreated, "paid")
	}
	require.EqualValues(t, 1, connections.Load())
	require.NoError(t, g.proxy.Use(configured(t, up.url(), "idle_timeout: 1m")))
	select {
	case <-ended:
	case <-time.After(patience / 2):
		t.Fatal("the old configuration's connection was left open")
	}
}

func TestHTTP2InFrontAndBehind(t *testing.T) {
	t.Parallel()
	var effects atomic.Int64
	behind := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if effects.Add(1); string(body) == "panic" {
			panic(http.ErrAbortHandler) // resets the stream
		}
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, r.Proto+" "+string(body)+" "+r.Header.Get("Idempotency-Key")+" "+r.Header.Get("Idempotency-Attempt"))
	}))
	behind.Config.Protocols = new(http.Protocols)
	behind.Config.Protocols.SetUnencryptedHTTP2(true)
	behind.Config.ErrorLog = silent
	behind.Start()
	t.Cleanup(behind.Close)
	g := front(t, newClocked(t), configured(t, behind.URL, "upstream_protocol: http2"), func(s *httptest.Server) {
		s.EnableHTTP2 = true
		s.TLS = tlsConfig()
	})
	for key, body := range map[string]string{"k1": "{}", "k2": ""} {
		first := g.post(key, body).is(http.StatusCreated, "HTTP/2.0 "+body+" "+key+" 1")
		g.post(key, body).replays(first)
	}
	require.EqualValues(t, 2, effects.Load())
	g.post("broken", "panic").problem(http.StatusBadGateway, proxy.CodeUnknown)
	g.post("broken", "panic").problem(http.StatusConflict, idempotency.CodeInProgress)
	require.EqualValues(t, 3, effects.Load())
}

func TestAClientThatSpeaksHTTP2InPlainText(t *testing.T) {
	t.Parallel()
	up := newUpstream(t, says(created))
	g := front(t, newClocked(t), configured(t, up.url()), func(s *httptest.Server) {
		s.Config.Protocols = new(http.Protocols)
		s.Config.Protocols.SetUnencryptedHTTP2(true)
	})
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(g.request("k", "{}"))
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, 2, response.ProtoMajor)
	require.Equal(t, http.StatusCreated, response.StatusCode)
}

func TestABodyThatIsAskedForIsReadBeforeItIsSent(t *testing.T) {
	t.Parallel()
	expects, lengths := make(chan string, 1), make(chan int64, 1)
	up := newUpstream(t, func(c *conn) {
		if r := c.take(); r != nil {
			expects <- r.Header.Get("Expect")
			lengths <- r.ContentLength
			body, _ := io.ReadAll(r.Body)
			c.say("HTTP/1.1 201 Created\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
		}
	})
	g := front(t, newClocked(t), configured(t, up.url()))
	r := g.request("k", "asked for")
	r.Header.Set("Expect", "100-continue")
	g.send(r).is(http.StatusCreated, "asked for")
	require.Empty(t, <-expects)
	require.EqualValues(t, len("asked for"), <-lengths)
}

func TestWhatIsForwardedSaysWhereItComesFrom(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		settings []string
		top      string
		want     map[string]string
		host     string
	}{
		"by itself": {nil, "", map[string]string{"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "api.example", "Forwarded": ""}, ""},
		"with a proxy in front": {nil, "trust_forwarded: true\n", map[string]string{
			"X-Forwarded-For": "192.0.2.7, 127.0.0.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "shop.example", "Forwarded": "for=192.0.2.7",
		}, ""},
		"with the client's host": {[]string{"host: preserve"}, "", nil, "api.example"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seen := make(chan *http.Request, 1)
			up := newUpstream(t, func(c *conn) {
				if r := c.take(); r != nil {
					seen <- r
					c.say("%s", created)
				}
			})
			config, err := proxy.Parse([]byte(tt.top + file(up.url()+"/base", tt.settings...)))
			require.NoError(t, err)
			g := front(t, newClocked(t), config)
			r := g.request("k", "{}")
			r.URL.Path, r.URL.RawPath, r.URL.RawQuery = "/a/b c", "/a/b%20c", "x=1&y;z=%zz"
			r.Host = "api.example"
			for header, value := range map[string]string{
				"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "shop.example", "Forwarded": "for=192.0.2.7",
				"Idempotency-Attempt": "7", "Connection": "Idempotency-Key, X-Hop", "X-Hop": "1", "Keep-Alive": "1", "Te": "trailers",
			} {
				r.Header.Set(header, value)
			}
			g.send(r).is(http.StatusCreated, "paid")
			got := <-seen
			require.Equal(t, "/base/a/b%20c?x=1&y;z=%zz", got.RequestURI, "as it was compared")
			for header, value := range tt.want {
				require.Equal(t, value, strings.Join(got.Header.Values(header), ", "), header)
			}
			require.Equal(t, "1", got.Header.Get("Idempotency-Attempt"), "it is the proxy's to set")
			require.Equal(t, "k", got.Header.Get("Idempotency-Key"), "a client cannot have it taken away")
			require.Empty(t, got.Header.Get("X-Hop")+got.Header.Get("Keep-Alive"))
			if tt.host == "" {
				tt.host = strings.TrimPrefix(up.url(), "http://")
			}
			require.Equal(t, tt.host, got.Host)
		})
	}
}

func TestWhatAnUpstreamSendsIsStoredAsItIs(t *testing.T) {
	t.Parallel()
	zipped := "\x1f\x8b\x08\x00 not really"
	up := newUpstream(t, says("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 201 Created\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"+
		"Trailer: Sum\r\nSet-Cookie: a=b\r\nIdempotent-Replayed: true\r\n\r\nf\r\n"+zipped+"\r\n0\r\nSum: 1\r\n\r\n"))
	g := front(t, newClocked(t), configured(t, up.url()))
	post := func() (*http.Response, string) {
		r := g.request("k", "{}")
		r.Header.Set("Accept-Encoding", "gzip") // so that the client does not open it
		response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
		require.NoError(t, err)
		defer response.Body.Close()
		body, err := io.ReadAll(bufio.NewReader(response.Body))
		require.NoError(t, err)
		require.Equal(t, "gzip", response.Header.Get("Content-Encoding"))
		require.Empty(t, response.Trailer)
		require.Empty(t, response.Header.Get("Sum"), "a trailer is no header")
		require.EqualValues(t, len(zipped), response.ContentLength)
		return response, string(body)
	}
	first, body := post()
	require.Equal(t, zipped, body)
	require.Equal(t, "a=b", first.Header.Get("Set-Cookie"))
	require.Empty(t, first.Header.Get("Idempotent-Replayed"))
	second, body := post()
	require.Equal(t, zipped, body)
	require.Empty(t, second.Header.Get("Set-Cookie"))
	require.Equal(t, "true", second.Header.Get("Idempotent-Replayed"))
	up.hasEffects(1)
}

// What the client has not asked for is not asked of the upstream, and not opened.
func TestNothingIsAskedForInTheClientsName(t *testing.T) {
	t.Parallel()
	seen := make(chan http.Header, 1)
	up := newUpstream(t, func(c *conn) {
		if r := c.take(); r != nil {
			seen <- r.Header
			c.say("%s", created)
		}
	})
	g := front(t, newClocked(t), configured(t, up.url()))
	client := http.Client{Transport: &http.Transport{DisableCompression: true, DisableKeepAlives: true}}
	r := g.request("k", "{}")
	r.Header["User-Agent"] = nil
	response, err := client.Do(r)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	got := <-seen
	require.Empty(t, got.Get("Accept-Encoding"))
	require.Empty(t, got.Get("User-Agent"))
}

func TestStatusesWithoutABodyAreKept(t *testing.T) {
	t.Parallel()
	for _, status := range []string{"204 No Content", "304 Not Modified", "205 Reset Content"} {
		up := newUpstream(t, says("HTTP/1.1 "+status+"\r\nConnection: close\r\nEtag: \"1\"\r\n\r\n"))
		g := front(t, newClocked(t), configured(t, up.url()))
		first := g.post("k", "{}")
		g.post("k", "{}").replays(first)
		require.Equal(t, status[:3], strconv.Itoa(first.status))
		up.hasEffects(1)
	}
}
