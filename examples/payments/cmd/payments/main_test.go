package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/examples/payments/psp"
)

// The test binary is the command when this is set, so that exit codes and signals are those of a real process.
const asCommand = "PAYMENTS_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		os.Exit(run())
	}
	os.Exit(m.Run())
}

func command(t *testing.T, databaseURL string, args ...string) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0], args...)
	c.Env = []string{asCommand + "=1", "DATABASE_URL=" + databaseURL, "LISTEN_ADDR=127.0.0.1:0"}
	return c
}

func newSchema(t *testing.T) string {
	t.Helper()
	base := os.Getenv("DATABASE_URL")
	if base == "" {
		t.Fatal("DATABASE_URL is not set: run `make test` at the root of the repository, which finds or starts a database, or set it to one yourself")
	}
	parsed, err := url.Parse(base)
	require.NoError(t, err)
	schema := "payments_" + strings.ToLower(rand.Text())
	query := parsed.Query()
	query.Set("search_path", schema)
	parsed.RawQuery = query.Encode()
	conn, err := pgx.Connect(t.Context(), base)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "CREATE SCHEMA "+schema)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		_, _ = conn.Exec(ctx, "DROP SCHEMA "+schema+" CASCADE")
		_ = conn.Close(ctx)
	})
	return parsed.String()
}

func TestExitCodesAndWhatIsSaid(t *testing.T) {
	t.Parallel()
	unmigrated := newSchema(t)
	for name, c := range map[string]struct {
		databaseURL string
		args        []string
		code        int
		says        string
	}{
		"help":         {"", []string{"-h"}, 0, "payments migrate"},
		"no database":  {"", nil, 2, "set DATABASE_URL"},
		"unknown flag": {unmigrated, []string{"-nothing"}, 2, "Try payments -h"},
		"unreachable":  {"postgres://127.0.0.1:1/x", nil, 1, "cannot be reached"},
		"unmigrated":   {unmigrated, nil, 1, "run `payments migrate`"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			said, err := command(t, c.databaseURL, c.args...).CombinedOutput()
			code := 0
			if exit := (*exec.ExitError)(nil); err != nil {
				require.ErrorAs(t, err, &exit)
				code = exit.ExitCode()
			}
			require.Equal(t, c.code, code, "%s", said)
			require.Contains(t, string(said), c.says)
			require.NotContains(t, string(said), "goroutine ")
		})
	}
}

func TestMigrateSeedAndServeAreThreeSteps(t *testing.T) {
	t.Parallel()
	databaseURL := newSchema(t)
	for _, step := range []string{"migrate", "seed", "migrate", "seed"} {
		said, err := command(t, databaseURL, step).CombinedOutput()
		require.NoError(t, err, "%s: %s", step, said)
	}
	c := command(t, databaseURL, "serve", "-log-format", "json")
	logs, err := c.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	waitFor(t, logs, `"msg":"serving"`)
	require.NoError(t, c.Process.Signal(os.Interrupt))
	_, _ = io.Copy(io.Discard, logs)
	require.NoError(t, c.Wait(), "an orderly end is exit code 0")
}

func TestTwoDemosAtOnceServeAndTheirLinesWork(t *testing.T) {
	t.Parallel()
	databaseURL := newSchema(t)
	// One for both: each carries on what the other has begun, and a provider knows its own charges only.
	provider := httptest.NewServer(psp.NewServer(psp.Config{}))
	t.Cleanup(provider.Close)
	type demo struct {
		*exec.Cmd
		out  io.Reader
		logs *bytes.Buffer
	}
	var demos []demo
	for _, shell := range []string{"echo", "nethttp"} {
		c := command(t, databaseURL, "-demo", "-http", shell, "-psp-url", provider.URL)
		out, err := c.StdoutPipe()
		require.NoError(t, err)
		logs := &bytes.Buffer{}
		c.Stderr = logs
		require.NoError(t, c.Start())
		demos = append(demos, demo{c, out, logs})
	}
	for i, d := range demos {
		printed := waitFor(t, d.out, "Ctrl-C ends it.")
		answers := runLines(t, printed)
		require.NoError(t, d.Process.Signal(syscall.SIGTERM))
		_, _ = io.Copy(io.Discard, d.out)
		require.NoError(t, d.Wait(), "an orderly end is exit code 0: %s", d.logs)
		require.Contains(t, d.logs.String(), "stopped")
		if answers == nil {
			continue
		}
		require.Len(t, answers, 9)
		require.Contains(t, answers[0], "201 Created")
		require.NotContains(t, answers[0], "Idempotent-Replayed")
		require.Contains(t, answers[1], "201 Created")
		require.Contains(t, answers[1], "Idempotent-Replayed: true")
		require.Contains(t, answers[2], "422 Unprocessable Entity")
		require.Contains(t, answers[3], `"status":"captured"`)
		require.Contains(t, answers[4], "402 Payment Required")
		require.Contains(t, answers[5], "503 Service Unavailable")
		require.Contains(t, answers[5], `"status":"captured"`, "a retry got through")
		require.Contains(t, answers[6], `"available":`)
		require.Contains(t, answers[7], `"payments":[{`)
		require.Equal(t, 2*(i+1), strings.Count(answers[8], `"id":"ch_`), "each card was charged once: %s", answers[8])
	}
}

func TestTheDemosProviderEndsWithTheDemoEvenOneThatIsKilled(t *testing.T) {
	t.Parallel()
	for _, end := range []os.Signal{os.Interrupt, os.Kill} {
		t.Run(end.String(), func(t *testing.T) {
			t.Parallel()
			c := command(t, newSchema(t), "-demo")
			out, err := c.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, c.Start())
			printed := waitFor(t, out, "Ctrl-C ends it.")
			charges := regexp.MustCompile(`http://\S+/v1/charges`).FindString(printed)
			response, err := http.Get(charges)
			require.NoError(t, err)
			_ = response.Body.Close()
			require.NoError(t, c.Process.Signal(end))
			_ = c.Wait()
			require.Eventually(t, func() bool {
				response, err := http.Get(charges)
				if err == nil {
					_ = response.Body.Close()
				}
				return err != nil
			}, 10*time.Second, 10*time.Millisecond)
		})
	}
}

func TestADemoWithAProviderOfItsOwnIsLeftAlone(t *testing.T) {
	t.Parallel()
	c := command(t, newSchema(t), "-demo", "-psp-url", "http://psp.invalid:8081")
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	printed := waitFor(t, out, "Ctrl-C ends it.")
	require.NotContains(t, printed, "/v1/charges")
	require.NoError(t, c.Process.Signal(os.Interrupt))
	_, _ = io.Copy(io.Discard, out)
	require.NoError(t, c.Wait())
}

// runLines runs the curl lines, as a reader would paste them. Where there is no curl it returns nil.
func runLines(t *testing.T, printed string) (answers []string) {
	t.Helper()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Log("curl is not here: the printed lines were not run")
		return nil
	}
	for line := range strings.Lines(printed) {
		if strings.HasPrefix(line, "curl ") {
			answer, err := exec.CommandContext(t.Context(), "sh", "-c", line).Output()
			require.NoError(t, err, line)
			answers = append(answers, string(answer))
		}
	}
	return answers
}

// waitFor reads until text comes, and returns what was read.
func waitFor(t *testing.T, from io.Reader, text string) string {
	t.Helper()
	found := make(chan string, 1)
	go func() {
		var read strings.Builder
		lines := bufio.NewReader(from)
		for !strings.Contains(read.String(), text) {
			line, err := lines.ReadString('\n')
			read.WriteString(line)
			if err != nil {
				break
			}
		}
		found <- read.String()
	}()
	select {
	case read := <-found:
		require.Contains(t, read, text)
		return read
	case <-time.After(30 * time.Second):
		t.Fatalf("nothing said %q", text)
		return ""
	}
}
