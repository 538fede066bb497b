package gateway

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/child"
)

// patience bounds everything that a test waits for. Nothing takes as long.
const patience = 60 * time.Second

// binaries are the gateways, as they are built for users.
var binaries = struct {
	once   sync.Once
	folder string
	err    error
}{}

func TestMain(m *testing.M) {
	code := m.Run()
	if binaries.folder != "" {
		_ = os.RemoveAll(binaries.folder)
	}
	os.Exit(code)
}

// binary returns the path of a program of the gateway module.
func binary(t *testing.T, name string) string {
	t.Helper()
	binaries.once.Do(func() {
		if binaries.folder, binaries.err = os.MkdirTemp("", "onlyonce-gateways"); binaries.err != nil {
			return
		}
		build := exec.Command("go", "build", "-o", binaries.folder, "./cmd/...")
		build.Dir = filepath.Join("..", "..", "gateway")
		if out, err := build.CombinedOutput(); err != nil {
			binaries.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	require.NoError(t, binaries.err)
	return filepath.Join(binaries.folder, name)
}

// gateway is a running proxy.
type gateway struct {
	t     *testing.T
	cmd   *exec.Cmd
	url   string
	ended chan struct{}
}

// startProxy starts a proxy with this configuration, and waits until it serves. It ends with the test.
func startProxy(t *testing.T, config string) *gateway {
	t.Helper()
	file := filepath.Join(t.TempDir(), "proxy.yaml")
	require.NoError(t, os.WriteFile(file, []byte(config), 0o600))
	g := &gateway{t: t, cmd: exec.Command(binary(t, "onlyonce-proxy"), "-config", file), ended: make(chan struct{})}
	child.Own(g.cmd)
	says, err := g.cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, g.cmd.Start())
	address, told := make(chan string, 1), &strings.Builder{}
	go func() {
		defer close(g.ended)
		for lines := bufio.NewScanner(says); lines.Scan(); {
			var line struct{ Msg, Server, Address string }
			_ = json.Unmarshal(lines.Bytes(), &line)
			if line.Msg == "serving" && line.Server == "clients" {
				address <- line.Address
			}
			if told.Len() < 1<<16 {
				fmt.Fprintln(told, lines.Text())
			}
		}
		_ = g.cmd.Wait() // killed, for the most part
	}()
	t.Cleanup(g.kill)
	select {
	case at := <-address:
		g.url = "http://" + at
	case <-g.ended:
		t.Fatalf("the proxy has ended: %s", told)
	case <-time.After(patience):
		t.Fatal("the proxy does not serve")
	}
	return g
}

// kill sends SIGKILL and returns when the process has ended.
func (g *gateway) kill() {
	_ = g.cmd.Process.Kill()
	<-g.ended
}

func (g *gateway) signal(s syscall.Signal) { require.NoError(g.t, g.cmd.Process.Signal(s)) }

// answer is what a client got, once. Without one, status is 0.
type answer struct {
	status   int
	body     string
	code     string // of a problem
	replayed bool
}

// client sends each request once: Go's own repeats one that carries a key where a connection breaks that was used before.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}

// post asks for the order of this reference, with the key of the same name.
func (g *gateway) post(reference string) answer { return post(g.url, reference) }

func post(url, reference string) answer {
	request, err := http.NewRequest(http.MethodPost, url+"/payments", strings.NewReader(fmt.Sprintf(`{"reference":%q}`, reference)))
	if err != nil {
		return answer{}
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Idempotency-Key", reference)
	request.Header.Set("X-Account", "alice")
	response, err := client.Do(request)
	if err != nil {
		return answer{}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{}
	}
	a := answer{status: response.StatusCode, body: string(body), replayed: response.Header.Get("Idempotent-Replayed") == "true"}
	var problem struct{ Code string }
	if strings.HasPrefix(response.Header.Get("Content-Type"), "application/problem+json") && json.Unmarshal(body, &problem) == nil {
		a.code = problem.Code
	}
	return a
}

// final reports whether a client stops asking: it has the operation's own answer.
func (a answer) final() bool { return a.status == 201 || a.status == 402 }
