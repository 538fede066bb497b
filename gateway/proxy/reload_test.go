package proxy_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/gateway/proxy"
	"github.com/onlyonce/onlyonce/idempotency"
)

func TestANewConfigurationCountsForNewRequestsAndTheOldOneForThoseThatHaveBegun(t *testing.T) {
	t.Parallel()
	taken, goOn := make(chan struct{}, 2), make(chan struct{})
	release := sync.OnceFunc(func() { close(goOn) })
	defer release() // also where the test fails
	old := newUpstream(t, func(c *conn) {
		if c.take() != nil {
			taken <- struct{}{}
			<-goOn
			c.say("%s", strings.Replace(created, "paid", "old!", 1))
		}
	})
	next := newUpstream(t, says(created))
	g := front(t, newClocked(t), configured(t, old.url()))
	begun := make(chan answer, 1)
	go func() { begun <- g.post("begun", "{}") }()
	<-taken
	require.NoError(t, g.proxy.Use(configured(t, next.url())))
	g.post("new", "{}").is(http.StatusCreated, "paid")
	g.post("begun", "{}").problem(http.StatusConflict, idempotency.CodeInProgress)
	release()
	first := <-begun
	first.is(http.StatusCreated, "old!")
	g.post("begun", "{}").replays(first)
	old.hasEffects(1)
	next.hasEffects(1)
}

func TestReloadsUnderTrafficLoseAndDoubleNothing(t *testing.T) {
	t.Parallel()
	up := newUpstream(t, says(created))
	path := filepath.Join(t.TempDir(), "proxy.yaml")
	write := func(text string) { require.NoError(t, os.WriteFile(path, []byte(text), 0o600)) }
	g := front(t, newClocked(t), configured(t, up.url(), "wait: 10s"))
	var over atomic.Bool
	var group sync.WaitGroup
	var sent atomic.Int64
	for client := range 4 {
		group.Go(func() {
			for i := 0; !over.Load() || i == 0; i++ {
				key := strings.Repeat("k", client+1) + "-" + strings.Repeat("i", i+1)
				sent.Add(1)
				first := g.post(key, "{}")
				first.is(http.StatusCreated, "paid")
				g.post(key, "{}").replays(first)
			}
		})
	}
	for i := range 20 {
		write(file(up.url(), "wait: "+[]string{"10s", "11s"}[i%2]))
		require.NoError(t, g.proxy.Reload(t.Context(), path))
	}
	over.Store(true)
	group.Wait()
	up.hasEffects(int(sent.Load()))
}

func TestAFileThatCannotBeUsedLeavesTheOldOneInService(t *testing.T) {
	t.Parallel()
	up := newUpstream(t, says(created))
	var logged bytes.Buffer
	p, err := proxy.New(newClocked(t), configured(t, up.url()), proxy.Options{Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "proxy.yaml")
	post := func() answer {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("{}"))
		r.Header.Set("X-Account", "alice")
		r.Header.Set("Idempotency-Key", "k")
		p.ServeHTTP(w, r)
		return answer{t, w.Code, w.Header(), w.Body.String()}
	}
	first := post().is(http.StatusCreated, "paid")
	for name, tt := range map[string]struct{ content, want string }{
		"broken":         {"routes: [", "line 1"},
		"wrong":          {file(up.url(), "lease: 1s"), "lease is 1s"},
		"of no use":      {file(up.url(), "replay_headers: [Date]"), "Date"},
		"another store":  {strings.Replace(file(up.url()), "memory:", "postgres://u:hunter2@h/d", 1), "store has changed, which needs a restart"},
		"another listen": {"listen: {address: ':1'}\n" + file(up.url()), "listen has changed"},
		"another admin":  {"admin: {address: ':1'}\n" + file(up.url()), "admin has changed"},
		"another format": {"log: {format: text}\n" + file(up.url()), "log.format has changed"},
		"another level":  {"log: {level: debug}\n" + file(up.url()), "log.level has changed"},
	} {
		logged.Reset()
		require.NoError(t, os.WriteFile(path, []byte(tt.content), 0o600))
		require.ErrorContains(t, p.Reload(t.Context(), path), tt.want, name)
		require.Contains(t, logged.String(), "the old one stays in service")
		require.NotContains(t, logged.String(), "hunter2")
		post().replays(first)
	}
	require.NoError(t, os.WriteFile(path, []byte("log: {access: false}\n"+file(up.url(), "protect: off")), 0o600))
	require.NoError(t, p.Reload(t.Context(), path))
	logged.Reset()
	post().is(http.StatusCreated, "paid")
	up.hasEffects(2)
	require.Empty(t, logged.String(), "the access log is off now")
}

func TestTheLogAndTheMetricsSayWhatHappenedAndNothingThatAClientSent(t *testing.T) {
	t.Parallel()
	up := newUpstream(t, says(""))
	var logged bytes.Buffer
	p, err := proxy.New(newClocked(t), configured(t, up.url()), proxy.Options{Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	require.NoError(t, err)
	post := func() {
		r := httptest.NewRequest(http.MethodPost, "/cards/4242?token=tokentoken", strings.NewReader("bodybody"))
		r.Header.Set("X-Account", "accountaccount")
		r.Header.Set("Idempotency-Key", "keykey")
		p.ServeHTTP(httptest.NewRecorder(), r)
	}
	post()
	post()
	admin := func(path string) answer {
		w := httptest.NewRecorder()
		p.Admin().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return answer{t, w.Code, w.Header(), w.Body.String()}
	}
	metrics := admin("/metrics").body
	for _, want := range []string{"method=POST route=/ status=502 outcome=held upstream=cut", "status=409 outcome=conflicted upstream=none"} {
		require.Contains(t, logged.String(), want)
	}
	for _, want := range []string{
		`onlyonce_proxy_requests_total{outcome="held",route="/",status="502",upstream="cut"} 1`,
		`onlyonce_proxy_requests_total{outcome="conflicted",route="/",status="409",upstream="none"} 1`,
		`onlyonce_proxy_request_seconds_count{route="/"} 2`, `onlyonce_proxy_in_flight 0`,
	} {
		require.Contains(t, metrics, want)
	}
	for _, secret := range []string{"4242", "tokentoken", "bodybody", "accountaccount", "keykey"} {
		require.NotContains(t, logged.String()+metrics, secret)
	}
	admin("/healthz").is(http.StatusOK, "ok\n")
	admin("/readyz").is(http.StatusOK, "ok\n")
	require.Equal(t, http.StatusNotFound, admin("/payments").status)
}

func TestReadinessIsThatOfTheStore(t *testing.T) {
	t.Parallel()
	asked := 0
	p, err := proxy.New(newClocked(t), configured(t, "http://127.0.0.1:1"), proxy.Options{
		Logger: quiet, Ready: func(context.Context) error { asked++; return io.ErrUnexpectedEOF },
	})
	require.NoError(t, err)
	for range 3 {
		w := httptest.NewRecorder()
		p.Admin().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		require.NotContains(t, w.Body.String(), "EOF")
	}
	require.Equal(t, 1, asked, "whoever asks often does not make the store busy")
}

func TestWhatNoRouteMatchesIsAProblem(t *testing.T) {
	t.Parallel()
	up := newUpstream(t, says(created))
	config, err := proxy.Parse([]byte(strings.Replace(file(up.url()), "[/]", `["POST /payments", "api.example/only"]`, 1)))
	require.NoError(t, err)
	g := front(t, newClocked(t), config)
	elsewhere := g.request("k", "{}")
	elsewhere.URL.Path = "/elsewhere"
	g.send(elsewhere).problem(http.StatusNotFound, proxy.CodeNoRoute)
	get := g.request("k", "")
	get.Method = http.MethodPut
	got := g.send(get)
	got.problem(http.StatusMethodNotAllowed, proxy.CodeNoRoute)
	require.Equal(t, "POST", got.header.Get("Allow"))
	unclean := g.request("k", "{}")
	unclean.URL.Path = "//payments"
	require.Equal(t, "/payments", g.send(unclean).header.Get("Location"), "it is redirected, and not forwarded")
	up.hasEffects(0)
}
