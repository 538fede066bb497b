package stack

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// bouncerConnections is how many connections PgBouncer makes to the server: fewer than there are clients.
const bouncerConnections = 3

// pooled returns a world, and how a server reaches it through a PgBouncer in transaction mode.
func pooled(t *testing.T) (*world, settings) {
	t.Helper()
	program := bouncer(t)
	w := newWorld(t)
	schema := ""
	require.NoError(t, w.pool.QueryRow(deadline(t), "SELECT current_schema()").Scan(&schema))
	return w, settings{URL: startBouncer(t, program, w.url, schema), Schema: schema, BehindPooler: true, Connections: 8}
}

// bouncer finds the program, or skips the test.
func bouncer(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program = "/usr/sbin/pgbouncer" // where Debian has it, which is not on every PATH
		if _, err := os.Stat(program); err != nil {
			t.Skip("pgbouncer not found: neither on PATH nor in /usr/sbin. Debian: apt-get install pgbouncer")
		}
	}
	return program
}

func startBouncer(t *testing.T, program, databaseURL, schema string) string {
	t.Helper()
	to, err := pgx.ParseConfig(databaseURL)
	require.NoError(t, err)
	port := freePort(t)
	// What a pool behind PgBouncer cannot set by itself is set for the role, or here.
	password := ""
	if to.Password != "" { // an empty one is a syntax error
		password = "password='" + strings.ReplaceAll(to.Password, "'", "''") + "'"
	}
	config := fmt.Sprintf(`[databases]
* = host=%s port=%d dbname=%s user=%s %s connect_query='SET search_path = %s; SET application_name = %s; SET idle_in_transaction_session_timeout = %d'
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = %d
max_client_conn = 500
`, to.Host, to.Port, to.Database, to.User, password, schema, schema, idle.Milliseconds(), port, bouncerConnections)

	folder, err := os.MkdirTemp("", "onlyonce-pgbouncer-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	require.NoError(t, os.Chmod(folder, 0o755))
	file := filepath.Join(folder, "pgbouncer.ini")
	require.NoError(t, os.WriteFile(file, []byte(config), 0o644))

	// The shell ends PgBouncer when its standard input ends, which it does with this process at the latest.
	cmd := exec.Command("/bin/sh", "-c", `"$0" "$1" & read -r end; kill -KILL $!; wait`, program, file)
	cmd.Dir = "/"
	cmd.SysProcAttr = unprivileged(t)
	said := filepath.Join(folder, "log")
	log, err := os.Create(said)
	require.NoError(t, err)
	cmd.Stdout, cmd.Stderr = log, log
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
		_ = log.Close()
		if lines, err := os.ReadFile(said); err == nil && t.Failed() {
			t.Logf("pgbouncer said:\n%s", lines)
		}
	})

	through := url.URL{Scheme: "postgres", User: url.User("anybody"), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)),
		Path: "/payments", RawQuery: "sslmode=disable"}
	eventually(t, "pgbouncer answers", func() (bool, error) {
		conn, err := pgx.Connect(deadline(t), through.String())
		if err != nil {
			return false, nil
		}
		return true, conn.Close(deadline(t))
	})
	return through.String()
}

// unprivileged is how a program is started that refuses to be root.
func unprivileged(t *testing.T) *syscall.SysProcAttr {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	nobody, err := user.Lookup("nobody")
	require.NoError(t, err)
	uid, err := strconv.Atoi(nobody.Uid)
	require.NoError(t, err)
	gid, err := strconv.Atoi(nobody.Gid)
	require.NoError(t, err)
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

func TestBehindPgBouncerDuplicatesTakeEffectOnce(t *testing.T) {
	t.Parallel()
	w, with := pooled(t)
	with.Wait = patience
	servers := twoProcesses(t, with)

	replies := stampede(t, payFor("alice", "key"), servers...)

	for _, r := range replies {
		wantSame(t, replies[0], r)
	}
	assert.Equal(t, 201, replies[0].status, replies[0].body)
	assert.Equal(t, once, w.effects(t, "key"))
	w.wantBalanced(t)
}

func TestBehindPgBouncerEveryConnectionServesEveryClient(t *testing.T) {
	t.Parallel()
	w, with := pooled(t)
	servers := twoProcesses(t, with)
	const keys = 100
	replies := make([]reply, keys)
	var all sync.WaitGroup
	for i := range replies {
		all.Go(func() { replies[i] = servers[i%2].send(payFor("alice", fmt.Sprintf("key-%d", i))) })
	}
	all.Wait()
	for i, r := range replies {
		require.NoError(t, r.err)
		assert.Equal(t, 201, r.status, r.body)
		key := fmt.Sprintf("key-%d", i)
		assert.Equal(t, once, w.effects(t, key))
		wantSame(t, r, servers[(i+1)%2].send(payFor("alice", key)))
	}
	// PgBouncer's own connections are named after the schema. A replay's transaction ends behind the client's back.
	var connections int
	require.NoError(t, w.pool.QueryRow(deadline(t), "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1", with.Schema).Scan(&connections))
	assert.Positive(t, connections)
	assert.LessOrEqual(t, connections, bouncerConnections)
	w.eventually(t, "no transaction leaves a lock behind", `SELECT NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory'
		AND pid IN (SELECT pid FROM pg_stat_activity WHERE application_name = $1))`, with.Schema)
	w.wantBalanced(t)
}

func TestBehindPgBouncerAServerKilledBetweenAnyTwoStatementsLeavesNothingHalfDone(t *testing.T) {
	t.Parallel()
	w, with := pooled(t)
	killBetweenStatements(t, w, with)
}

func TestBehindPgBouncerAStoppedOwnerIsOvertaken(t *testing.T) {
	t.Parallel()
	w, with := pooled(t)
	freezeOwner(t, w, with)
}
