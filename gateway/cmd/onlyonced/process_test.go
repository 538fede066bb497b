package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The test binary is the command when this is set, so that exit codes and signals are those of a real process.
const asCommand = "ONLYONCED_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		os.Exit(process())
	}
	os.Exit(m.Run())
}

const token = "a-token-of-the-tests"

func command(ctx context.Context, t *testing.T, environment []string, args ...string) *exec.Cmd {
	t.Helper()
	program, err := os.Executable()
	require.NoError(t, err)
	c := exec.CommandContext(ctx, program, args...)
	c.Env = append([]string{asCommand + "=1"}, environment...)
	return c
}

// said runs the command to its end, and returns what it said and its exit code; -1 if it serves instead, and had to be killed.
func said(t *testing.T, environment []string, args ...string) (text string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	output, err := command(ctx, t, environment, args...).CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil {
		require.ErrorAs(t, err, &exit)
		code = exit.ExitCode()
	}
	require.NotContains(t, string(output), "goroutine ")
	return string(output), code
}

func write(t *testing.T, text string) (name string) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	return name
}

// daemon is a running onlyonced.
type daemon struct {
	*testing.T
	cmd            *exec.Cmd
	service, admin string // addresses
	client         *http.Client
	token          string

	mu   sync.Mutex
	logs strings.Builder
	read chan struct{} // closed when there are no more logs
}

// start runs the command until it serves on both of its addresses.
func start(t *testing.T, args ...string) *daemon {
	t.Helper()
	d := &daemon{T: t, read: make(chan struct{}), client: http.DefaultClient, token: token}
	d.cmd = command(t.Context(), t, nil, append([]string{"-listen", "127.0.0.1:0", "-admin", "127.0.0.1:0", "-log-format", "json", "-log-level", "debug"}, args...)...)
	pipe, err := d.cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, d.cmd.Start())
	t.Cleanup(func() { _ = d.cmd.Process.Kill() })
	serving := make(chan struct{}, 2)
	go func() {
		defer close(d.read)
		lines := bufio.NewScanner(pipe)
		for lines.Scan() {
			d.mu.Lock()
			d.logs.Write(append(lines.Bytes(), '\n'))
			d.mu.Unlock()
			var line struct{ Msg, Server, Address string }
			if json.Unmarshal(lines.Bytes(), &line) != nil || line.Msg != "serving" {
				continue
			}
			if line.Server == "admin" {
				d.admin = line.Address
			} else {
				d.service = line.Address
			}
			serving <- struct{}{}
		}
	}()
	for range 2 {
		select {
		case <-serving:
		case <-d.read:
			require.FailNow(t, "it ended", d.text())
		case <-time.After(30 * time.Second):
			require.FailNow(t, "it does not serve", d.text())
		}
	}
	return d
}

func (d *daemon) text() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.logs.String()
}

// wait waits for the end, and returns the exit code; -1 if it was killed.
func (d *daemon) wait() int {
	d.Helper()
	<-d.read
	_ = d.cmd.Wait()
	return d.cmd.ProcessState.ExitCode()
}

// claim claims a key, and returns the status and the answer.
func (d *daemon) claim(key string, lease time.Duration) (status int, answer map[string]any, err error) {
	body := fmt.Sprintf(`{"idempotency_key":%q,"lock_duration":%d}`, key, lease.Milliseconds())
	scheme := "http://"
	if d.client != http.DefaultClient {
		scheme = "https://"
	}
	request, err := http.NewRequest(http.MethodPost, scheme+d.service+"/v1/claims", strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("X-Idempotency-Scope", "acme")
	if d.token != "" {
		request.Header.Set("Authorization", "Bearer "+d.token)
	}
	response, err := d.client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	return response.StatusCode, answer, json.NewDecoder(response.Body).Decode(&answer)
}

func (d *daemon) get(path string) (int, string) {
	d.Helper()
	response, err := http.Get("http://" + d.admin + path)
	require.NoError(d, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(d, err)
	return response.StatusCode, string(text)
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(text)
}

func flagNames() (names []string) {
	new(config).flags().VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
	return names
}
