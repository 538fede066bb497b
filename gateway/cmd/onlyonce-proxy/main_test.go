package main_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/pgtest"
)

const patience = 20 * time.Second

var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "onlyonce-proxy-")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "onlyonce-proxy")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		panic(fmt.Sprintf("%v: %s", err, out))
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// upstream counts what reaches it, and answers each when it is told to.
type upstream struct {
	*httptest.Server
	effects atomic.Int64
	taken   chan string
	goOn    chan struct{}
}

func newUpstream(t *testing.T) *upstream {
	u := &upstream{taken: make(chan string, 10), goOn: make(chan struct{})}
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		n := u.effects.Add(1)
		u.taken <- r.Header.Get("Idempotency-Attempt")
		select {
		case <-u.goOn:
		case <-r.Context().Done():
			return
		}
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprintf(w, "paid %d", n)
	}))
	t.Cleanup(u.Close)
	return u
}

func config(store, upstream string, settings ...string) string {
	text := "listen: {address: '127.0.0.1:0'}\nadmin: {address: '127.0.0.1:0'}\nstore: " + store +
		"\nroutes:\n  - patterns: [/]\n    upstream: " + upstream + "\n    scope: {from: shared}\n"
	for _, setting := range settings {
		text += "    " + setting + "\n"
	}
	return text
}

func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

// process is a running proxy.
type process struct {
	*testing.T
	*exec.Cmd
	clients, admin string
	path           string
	lines          chan map[string]any
	done           chan error
}

func start(t *testing.T, text string) *process {
	t.Helper()
	p := &process{T: t, path: filepath.Join(t.TempDir(), "proxy.yaml"), lines: make(chan map[string]any, 1000), done: make(chan error, 1)}
	write(t, p.path, text)
	p.Cmd = exec.Command(binary, "-config", p.path)
	stderr, err := p.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, p.Start())
	go func() {
		for scanner := bufio.NewScanner(stderr); scanner.Scan(); {
			line := map[string]any{}
			if json.Unmarshal(scanner.Bytes(), &line) != nil {
				line["msg"] = scanner.Text()
			}
			p.lines <- line
		}
		p.done <- p.Wait()
		close(p.lines)
	}()
	t.Cleanup(func() { _ = p.Process.Kill() })
	p.clients = "http://" + p.logged("serving", "server", "clients")["address"].(string)
	p.admin = "http://" + p.logged("serving", "server", "admin")["address"].(string)
	return p
}

// logged waits for a line of the log.
func (p *process) logged(message string, attribute ...string) map[string]any {
	p.Helper()
	deadline := time.After(patience)
	for {
		select {
		case line, open := <-p.lines:
			if !open {
				p.Fatalf("the program ended before it said %q", message)
			}
			if strings.Contains(line["msg"].(string), message) && (len(attribute) == 0 || line[attribute[0]] == attribute[1]) {
				return line
			}
		case <-deadline:
			p.Fatalf("nothing said %q", message)
		}
	}
}

func (p *process) ended() error {
	p.Helper()
	deadline := time.After(patience)
	for {
		select {
		case _, open := <-p.lines:
			if !open {
				return <-p.done
			}
		case <-deadline:
			p.Fatal("the program did not end")
		}
	}
}

type answer struct {
	status int
	body   string
	header http.Header
	err    error
}

// post sends a request once: a connection that breaks is not tried again.
func (p *process) post(key string) answer {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.clients+"/payments", strings.NewReader("{}"))
	if err != nil {
		return answer{err: err}
	}
	r.Header.Set("Idempotency-Key", key)
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		return answer{err: err}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, string(body), response.Header, err}
}

func (p *process) posting(key string) chan answer {
	answers := make(chan answer, 1)
	go func() { answers <- p.post(key) }()
	return answers
}

func runs(t *testing.T, args ...string) (code int, output string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out bytes.Buffer
	command := exec.CommandContext(ctx, binary, args...)
	command.Stdout, command.Stderr = &out, &out
	err := command.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exit.ExitCode(), out.String()
	}
	require.NoError(t, err)
	return 0, out.String()
}

func TestTheCheckSaysWhatIsRightAndWhatIsWrong(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "proxy.yaml")
	for name, tt := range map[string]struct {
		args []string
		text string
		code int
		want []string
	}{
		"good":               {[]string{"-check"}, config("{url: 'memory:'}", "http://127.0.0.1:1"), 0, []string{"goes to http://127.0.0.1:1", "all callers together"}},
		"wrong":              {[]string{"-check"}, config("{url: ''}", "nowhere", "lease: 1s"), 2, []string{"store needs url", "upstream must be", "lease is 1s"}},
		"wrong together":     {[]string{"-check"}, config("{url: 'memory:'}", "http://127.0.0.1:1", "replay_headers: [Date]"), 2, []string{"Date"}},
		"wrong, and started": {nil, "routes: [", 2, []string{"line 1"}},
		"no certificate":     {[]string{"-check"}, strings.Replace(config("{url: 'memory:'}", "http://127.0.0.1:1"), "'}\n", "', tls: {certificate: none, key: none}}\n", 1), 2, []string{"listen.tls: the certificate none"}},
		"no such scheme":     {nil, config("{url: 'mysql://u:hunter2@h/d'}", "http://127.0.0.1:1"), 2, []string{"store: ", "scheme is not known"}},
		"no such database":   {[]string{"-check"}, config("{url: 'postgres://u:hunter2@h:port/d'}", "http://127.0.0.1:1"), 2, []string{"store: ", "database URL cannot be read"}},
		"migrates nothing":   {[]string{"-migrate"}, config("{url: 'memory:'}", "http://127.0.0.1:1"), 1, []string{"is for PostgreSQL"}},
		"an argument":        {[]string{"serve"}, config("{url: 'memory:'}", "http://127.0.0.1:1"), 1, []string{`"serve" is no flag`}},
		"help":               {[]string{"-h"}, "", 0, []string{"-check", "-migrate", "SIGHUP"}},
	} {
		write(t, path, tt.text)
		code, output := runs(t, append([]string{"-config", path}, tt.args...)...)
		require.Equal(t, tt.code, code, "%s: %s", name, output)
		for _, want := range tt.want {
			require.Contains(t, output, want, name)
		}
		require.NotContains(t, output, "hunter2")
	}
	code, output := runs(t, "-config", path+"-none", "-check")
	require.Equal(t, 1, code)
	require.Contains(t, output, "cannot be read")
}

func TestSIGTERMLetsARequestThatHasBegunBeAnswered(t *testing.T) {
	t.Parallel()
	up := newUpstream(t)
	p := start(t, config("{url: 'memory:'}", up.URL))
	begun := p.posting("k")
	<-up.taken
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	p.logged("ending")
	require.Eventually(t, func() bool { return p.post("late").err != nil }, patience, 5*time.Millisecond, "it goes on taking new requests")
	close(up.goOn)
	got := <-begun
	require.NoError(t, got.err)
	require.Equal(t, "paid 1", got.body)
	require.NoError(t, p.ended())
}

func TestSIGHUPReadsTheFileAgain(t *testing.T) {
	t.Parallel()
	up, next := newUpstream(t), newUpstream(t)
	close(up.goOn)
	close(next.goOn)
	p := start(t, config("{url: 'memory:'}", up.URL))
	first := p.post("k")
	require.Equal(t, "paid 1", first.body, first)

	write(t, p.path, config("{url: 'memory:'}", next.URL, "lease: 1ms"))
	require.NoError(t, p.Process.Signal(syscall.SIGHUP))
	require.Contains(t, p.logged("the old one stays in service")["error"], "lease is 1ms")
	require.Equal(t, "paid 2", p.post("another").body)

	write(t, p.path, config("{url: 'memory:'}", next.URL))
	require.NoError(t, p.Process.Signal(syscall.SIGHUP))
	p.logged("a new configuration is in service")
	require.Equal(t, "paid 1", p.post("third").body)
	require.Equal(t, "paid 1", p.post("k").body, "keys outlive configurations")
	require.EqualValues(t, 2, up.effects.Load())
	require.EqualValues(t, 1, next.effects.Load())
	response, err := http.Get(p.admin + "/readyz")
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, http.StatusOK, response.StatusCode)
}

func TestAKilledProxysKeyIsTakenOverAfterItsLeaseAndNotBefore(t *testing.T) {
	t.Parallel()
	schema := pgtest.EmptySchema(t)
	store := "{url: '" + pgtest.URL(t) + "', schema: " + schema + "}"
	up := newUpstream(t)
	path := filepath.Join(t.TempDir(), "proxy.yaml")
	write(t, path, config(store, up.URL))
	code, output := runs(t, "-config", path)
	require.Equal(t, 1, code, "there is no table yet: %s", output)
	require.Contains(t, output, "keys cannot be lent by")
	code, output = runs(t, "-config", path, "-migrate")
	require.Equal(t, 0, code, output)

	killed, other := start(t, config(store, up.URL)), start(t, config(store, up.URL))
	begun := killed.posting("k")
	require.Equal(t, "1", <-up.taken)
	require.NoError(t, killed.Process.Kill())
	require.Error(t, (<-begun).err)
	require.Error(t, killed.ended())

	require.Equal(t, http.StatusConflict, other.post("k").status)
	pool := pgtest.Pool(t, schema)
	move := func(by string) {
		tag, err := pool.Exec(t.Context(), `UPDATE idempotency_keys SET leased_until = leased_until - $1::interval WHERE state = 'pending'`, by)
		require.NoError(t, err)
		require.EqualValues(t, 1, tag.RowsAffected())
	}
	move("5 seconds")
	require.Equal(t, http.StatusConflict, other.post("k").status, "what the upstream has for its answer is not over")
	require.EqualValues(t, 1, up.effects.Load())
	move("30 seconds")
	close(up.goOn)
	got := other.post("k")
	require.Equal(t, http.StatusCreated, got.status, got.body)
	require.Equal(t, "2", <-up.taken, "the upstream is told")
	again := other.post("k")
	require.Equal(t, got.body, again.body)
	require.Equal(t, "true", again.header.Get("Idempotent-Replayed"))
	require.EqualValues(t, 2, up.effects.Load())
}
