// Package pgbouncer starts a PgBouncer in transaction mode for a test.
package pgbouncer

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onlyonce/onlyonce/internal/freeport"
)

// patience bounds the start.
const patience = 30 * time.Second

// Options of a PgBouncer.
type Options struct {
	// Connections is how many connections it makes to the server.
	Connections int
	// OnConnect is SQL that each of them begins with.
	OnConnect string
}

// Bouncer is a running PgBouncer. It ends with its test.
type Bouncer struct {
	// URL is how clients reach it.
	URL string
	// Prepared says that this version keeps track of prepared statements, as those since 1.21 do, so that pgx may cache them.
	Prepared bool
}

// Start starts a PgBouncer in front of the database. Without the program the test is skipped, and says so.
func Start(tb testing.TB, databaseURL string, options Options) Bouncer {
	tb.Helper()
	program := find(tb)
	to, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		tb.Fatalf("read the database's URL: %v", err)
	}
	prepared := tracksStatements(tb, program)
	port, err := freeport.Find()
	if err != nil {
		tb.Fatal(err)
	}
	folder, err := os.MkdirTemp("", "onlyonce-pgbouncer-")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(folder) })
	file := filepath.Join(folder, "pgbouncer.ini")
	if err := os.Chmod(folder, 0o755); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(options.file(to, port, prepared)), 0o644); err != nil {
		tb.Fatal(err)
	}
	run(tb, program, folder, file)
	through := url.URL{Scheme: "postgres", User: url.User("anybody"), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)),
		Path: "/" + to.Database, RawQuery: "sslmode=disable"}
	await(tb, through.String())
	return Bouncer{URL: through.String(), Prepared: prepared}
}

func (o Options) file(to *pgx.ConnConfig, port int, prepared bool) string {
	quoted := func(name, value string) string { // an empty one is a syntax error
		if value == "" {
			return ""
		}
		return " " + name + "='" + strings.ReplaceAll(value, "'", "''") + "'"
	}
	lines := []string{
		"[databases]",
		fmt.Sprintf("* = host=%s port=%d dbname=%s user=%s%s%s", to.Host, to.Port, to.Database, to.User, quoted("password", to.Password), quoted("connect_query", o.OnConnect)),
		"[pgbouncer]",
		"listen_addr = 127.0.0.1",
		fmt.Sprintf("listen_port = %d", port),
		"unix_socket_dir =",
		"auth_type = any",
		"pool_mode = transaction",
		fmt.Sprintf("default_pool_size = %d", o.Connections),
		"max_client_conn = 500",
	}
	if prepared {
		lines = append(lines, "max_prepared_statements = 200")
	}
	return strings.Join(lines, "\n") + "\n"
}

func find(tb testing.TB) string {
	tb.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program = "/usr/sbin/pgbouncer" // where Debian has it, which is not on every PATH
		if _, err := os.Stat(program); err != nil {
			tb.Skip("pgbouncer not found: neither on PATH nor in /usr/sbin. Debian: apt-get install pgbouncer")
		}
	}
	return program
}

var version = regexp.MustCompile(`PgBouncer (\d+)\.(\d+)`)

func tracksStatements(tb testing.TB, program string) bool {
	tb.Helper()
	said, err := exec.Command(program, "--version").Output()
	if err != nil {
		tb.Fatalf("ask pgbouncer for its version: %v", err)
	}
	return prepares(string(said))
}

func prepares(said string) bool {
	numbers := version.FindStringSubmatch(said)
	if numbers == nil {
		return false
	}
	major, _ := strconv.Atoi(numbers[1])
	minor, _ := strconv.Atoi(numbers[2])
	return major > 1 || minor >= 21
}

func run(tb testing.TB, program, folder, file string) {
	tb.Helper()
	// The shell ends PgBouncer when its standard input ends, which it does with this process at the latest.
	cmd := exec.Command("/bin/sh", "-c", `"$0" "$1" & read -r end; kill -KILL $!; wait`, program, file)
	cmd.Dir = "/"
	unprivileged(tb, cmd)
	said := filepath.Join(folder, "log")
	log, err := os.Create(said)
	if err != nil {
		tb.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatalf("start pgbouncer: %v", err)
	}
	tb.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
		_ = log.Close()
		if lines, err := os.ReadFile(said); err == nil && tb.Failed() {
			tb.Logf("pgbouncer said:\n%s", lines[max(0, len(lines)-8000):])
		}
	})
}

func await(tb testing.TB, url string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, url)
		if err == nil {
			_ = conn.Close(ctx)
			return
		}
		select {
		case <-ctx.Done():
			tb.Fatalf("pgbouncer does not answer within %v: %v", patience, err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}
