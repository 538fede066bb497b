package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/integration/database"
	"github.com/onlyonce/onlyonce/internal/ephemeral"
)

const commandVariable = "ONLYONCE_WITHPOSTGRES_TEST"

// TestMain makes this binary serve as withpostgres, so that tests can signal it and kill it.
func TestMain(m *testing.M) {
	if os.Getenv(commandVariable) != "" {
		os.Exit(run(os.Args[1:], os.Stderr))
	}
	os.Exit(m.Run())
}

// withpostgres is prepared to start a local cluster, whatever database the tests themselves run with.
func withpostgres(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	if _, err := ephemeral.FindBinaries(""); err != nil {
		t.Skip(err)
	}
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), commandVariable+"=1", database.URLVariable+"=", database.WayVariable+"=local")
	return cmd
}

func assertGone(t *testing.T, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err := pgx.Connect(ctx, url)
	require.Error(t, err, "the database outlived withpostgres")
}

func codeOfRun(t *testing.T, err error) int {
	t.Helper()
	if err == nil {
		return 0
	}
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	return exit.ExitCode()
}

func TestTheCommandGetsADatabaseThatIsGoneAfterIt(t *testing.T) {
	t.Parallel()
	cmd := withpostgres(t, "--", "sh", "-c", `echo "$DATABASE_URL"; cat`)
	cmd.Stdin = strings.NewReader("stdin is passed on")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr

	out, err := cmd.Output()

	require.NoError(t, err, stderr.String())
	url, rest, _ := strings.Cut(string(out), "\n")
	assert.Contains(t, url, "postgres://postgres@127.0.0.1:")
	assert.Equal(t, "stdin is passed on", rest)
	assert.Equal(t, "withpostgres: using a throw-away cluster from local PostgreSQL binaries\n", stderr.String())
	assertGone(t, url)
}

func TestTheExitCodeIsTheCommands(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		args    []string
		want    int
		message string
	}{
		{name: "success", args: []string{"--", "true"}, want: 0},
		{name: "failure", args: []string{"--", "sh", "-c", "exit 7"}, want: 7},
		{name: "killed", args: []string{"--", "sh", "-c", "kill -KILL $$"}, want: 137},
		{name: "no such command", args: []string{"--", "no-such-command"}, want: 127, message: "no-such-command"},
		{name: "no command", args: []string{"--"}, want: 2, message: "no command to run"},
		{name: "no such flag", args: []string{"-nonsense"}, want: 2, message: "-nonsense"},
		{name: "no such way", args: []string{"-order", "cloud", "--", "true"}, want: 125, message: `no way "cloud"`},
		{name: "no database", args: []string{"-order", "given", "--", "true"}, want: 125, message: "no PostgreSQL found"},
		{name: "help", args: []string{"-h"}, want: 0, message: "withpostgres [flags] -- command"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cmd := withpostgres(t, test.args...)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			assert.Equal(t, test.want, codeOfRun(t, cmd.Run()), stderr.String())
			assert.Contains(t, stderr.String(), test.message)
		})
	}
}

// countsInterrupts reports each SIGINT that reaches it, and goes when its stdin ends.
const countsInterrupts = `trap 'echo interrupted' INT; echo "$DATABASE_URL"; while read -r _ || [ $? -gt 128 ]; do :; done; echo done; exit 3`

func TestAnInterruptReachesTheCommandOnceAndIsWaitedFor(t *testing.T) {
	t.Parallel()
	// Where these tests were started with interrupts ignored, as in a shell's background, the command would be, too.
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	defer signal.Stop(interrupts)
	cmd := withpostgres(t, "--", "bash", "-c", countsInterrupts)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	// Everyone of a terminal's foreground group gets a Ctrl-C; the command must not get it twice.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, cmd.Start())
	lines := bufio.NewReader(stdout)
	url, err := lines.ReadString('\n')
	require.NoError(t, err)

	require.NoError(t, syscall.Kill(-cmd.Process.Pid, syscall.SIGINT))
	line, err := lines.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "interrupted\n", line)

	// The command goes on, so its database must too.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, strings.TrimSpace(url))
	require.NoError(t, err)
	require.NoError(t, conn.Close(ctx))

	require.NoError(t, stdin.Close())
	rest, err := io.ReadAll(lines)
	require.NoError(t, err)
	assert.Equal(t, "done\n", string(rest))
	assert.Equal(t, 3, codeOfRun(t, cmd.Wait()))
	assertGone(t, strings.TrimSpace(url))
}

func TestATerminatedCommandLeavesNoProcessBehind(t *testing.T) {
	t.Parallel()
	// As go run does: the parent dies of the signal at once, its program takes a while to shut down.
	finished := filepath.Join(t.TempDir(), "finished")
	program := `trap 'sleep 0.5; touch "$0"; exit' TERM; echo ready; exec >&-; while :; do sleep 0.05; done`
	cmd := withpostgres(t, "--", "bash", "-c", `echo "$DATABASE_URL"; bash -c "$1" "$0" & wait`, finished, program)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewReader(stdout)
	url, err := lines.ReadString('\n')
	require.NoError(t, err)
	ready, err := lines.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "ready\n", ready)

	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))

	_, err = io.Copy(io.Discard, lines)
	require.NoError(t, err)
	assert.Equal(t, 143, codeOfRun(t, cmd.Wait()))
	assert.FileExists(t, finished, "withpostgres did not wait for the program's own shutdown")
	assertGone(t, strings.TrimSpace(url))
}

func TestTheDatabaseIsGoneWhenWithpostgresWasKilled(t *testing.T) {
	t.Parallel()
	cmd := withpostgres(t, "--", "sh", "-c", `echo "$DATABASE_URL"; cat`)
	_, err := cmd.StdinPipe() // open until Wait: so long, cat runs
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	url, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)

	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()

	assert.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		conn, err := pgx.Connect(ctx, strings.TrimSpace(url))
		if err != nil {
			return !errors.Is(err, context.DeadlineExceeded)
		}
		_ = conn.Close(ctx)
		return false
	}, 20*time.Second, 20*time.Millisecond)
}

func TestADurableDatabaseSyncs(t *testing.T) {
	t.Parallel()
	cmd := withpostgres(t, "-durable", "--", "sh", "-c", `echo "$DATABASE_URL"; cat`)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	url, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, strings.TrimSpace(url))
	require.NoError(t, err)
	var fsync string
	require.NoError(t, conn.QueryRow(ctx, "SHOW fsync").Scan(&fsync))
	assert.Equal(t, "on", fsync)
	require.NoError(t, conn.Close(ctx))
	require.NoError(t, stdin.Close())
	require.NoError(t, cmd.Wait())
}
