package grid

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// serverVariable makes this test binary a server; it holds the place.
const serverVariable = "ONLYONCE_GRID_SERVER"

func TestMain(m *testing.M) {
	if encoded := os.Getenv(serverVariable); encoded != "" {
		go func() { // the test that started it is gone
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(0)
		}()
		fmt.Fprintln(os.Stderr, "grid server:", serve(encoded))
		os.Exit(1)
	}
	code := m.Run()
	stopRedis()
	os.Exit(code)
}

// patience bounds everything that a test waits for. Nothing takes as long.
const patience = 60 * time.Second

// process is a running server.
type process struct {
	cmd   *exec.Cmd
	url   string
	ended chan struct{}
}

// start starts a server, which ends with the test.
func (p place) start(t *testing.T) *process {
	t.Helper()
	encoded, err := json.Marshal(p)
	require.NoError(t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serverVariable+"="+string(encoded))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	s := &process{cmd: cmd, ended: make(chan struct{})}
	t.Cleanup(func() {
		s.kill()
		_ = stdin.Close()
	})
	address, err := bufio.NewReader(stdout).ReadString('\n')
	go func() {
		defer close(s.ended)
		_ = cmd.Wait() // killed, for the most part
	}()
	require.NoError(t, err, "the server does not serve")
	_, _, err = net.SplitHostPort(strings.TrimSpace(address))
	require.NoError(t, err, "the server says something else than where it serves")
	s.url = "http://" + strings.TrimSpace(address)
	return s
}

// kill sends SIGKILL and returns when the process has ended.
func (s *process) kill() {
	_ = kill(s.cmd.Process.Pid)
	<-s.ended
}

// answer is what a client got, once.
type answer struct {
	status   int
	body     string
	replayed bool
	err      error
}

// client sends each request once: Go's own repeats one that carries a key where a connection breaks that was used before.
var client = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func (s *process) pay(key string) (a answer) {
	r, err := http.NewRequest(http.MethodPost, s.url+"/payments", strings.NewReader(`{"amount":100}`))
	if err != nil {
		return answer{err: err}
	}
	r.Header.Set("Idempotency-Key", key)
	response, err := client.Do(r)
	if err != nil {
		return answer{err: err}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, string(body), response.Header.Get("Idempotent-Replayed") != "", err}
}

// insist sends a request until it is answered, and reports by the false that it was not in time.
func insist(key string, server func() *process) (a answer, tries int, ok bool) {
	for began := time.Now(); time.Since(began) < patience; tries++ {
		if a = server().pay(key); a.err == nil && a.status != http.StatusConflict && a.status < 500 {
			return a, tries, true
		}
		time.Sleep(5 * time.Millisecond) // as a client that is told to come back
	}
	return a, tries, false
}
