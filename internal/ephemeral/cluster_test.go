package ephemeral_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/ephemeral"
)

const childVariable = "ONLYONCE_EPHEMERAL_CHILD"

// TestMain makes this binary serve as the parent that a test kills.
func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		os.Exit(startAndHang())
	}
	os.Exit(m.Run())
}

func startAndHang() int {
	cluster, err := ephemeral.Start(context.Background(), ephemeral.Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(cluster.PID(), cluster.DataDir(), cluster.URL(""))
	select {}
}

func start(t *testing.T, options ephemeral.Options) *ephemeral.Cluster {
	t.Helper()
	if _, err := ephemeral.FindBinaries(""); err != nil {
		t.Skip(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cluster, err := ephemeral.Start(ctx, options)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, cluster.Stop()) })
	return cluster
}

func within(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(within(t, time.Minute), url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func setting(t *testing.T, conn *pgx.Conn, name string) string {
	t.Helper()
	var value string
	require.NoError(t, conn.QueryRow(within(t, time.Minute), "SELECT current_setting($1)", name).Scan(&value))
	return value
}

func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	// A zombie answers to signals; it is dead all the same, and reaped by whoever is process 1.
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || !strings.Contains(string(stat), ") Z ")
}

func segmentOf(t *testing.T, dataDir string) string {
	t.Helper()
	lock, err := os.ReadFile(filepath.Join(dataDir, "postmaster.pid"))
	require.NoError(t, err)
	return strings.Fields(strings.Split(string(lock), "\n")[6])[1]
}

func segmentExists(t *testing.T, id string) bool {
	t.Helper()
	all, err := os.ReadFile("/proc/sysvipc/shm")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(all)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[1] == id {
			return true
		}
	}
	return false
}

func TestAClusterAnswersAndIsSetUpForTests(t *testing.T) {
	t.Parallel()
	cluster := start(t, ephemeral.Options{Settings: map[string]string{
		"max_connections":  "17",
		"application_name": "it's quoted",
	}})

	conn := connect(t, cluster.URL(""))
	assert.Equal(t, "off", setting(t, conn, "fsync"))
	assert.Equal(t, "UTF8", setting(t, conn, "server_encoding"))
	assert.Equal(t, "17", setting(t, conn, "max_connections"), "a setting wins over the default")
	assert.Equal(t, "it's quoted", setting(t, conn, "application_name"))
	assert.Equal(t, cluster.DataDir(), setting(t, conn, "data_directory"))
	assert.True(t, alive(cluster.PID()))
}

func TestADurableClusterSyncs(t *testing.T) {
	t.Parallel()
	cluster := start(t, ephemeral.Options{Durable: true})

	conn := connect(t, cluster.URL(""))
	assert.Equal(t, "on", setting(t, conn, "fsync"))
	assert.Equal(t, "on", setting(t, conn, "full_page_writes"))
}

func TestAStoppedClusterLeavesNothing(t *testing.T) {
	t.Parallel()
	cluster := start(t, ephemeral.Options{})
	pid, url, folder := cluster.PID(), cluster.URL(""), cluster.DataDir()
	segment := segmentOf(t, folder)

	require.NoError(t, cluster.Stop())

	assert.False(t, alive(pid))
	assert.Zero(t, cluster.PID())
	assert.NoDirExists(t, folder)
	assert.NoDirExists(t, filepath.Dir(folder))
	assert.False(t, segmentExists(t, segment))
	_, err := pgx.Connect(within(t, time.Minute), url)
	require.Error(t, err)

	require.NoError(t, cluster.Stop(), "a second stop is the first one's result")
	require.ErrorContains(t, cluster.StartAgain(within(t, time.Minute)), "was stopped")
}

func TestAKilledClusterLeavesNothingOnceStopped(t *testing.T) {
	t.Parallel()
	cluster := start(t, ephemeral.Options{})
	segment := segmentOf(t, cluster.DataDir())
	require.NoError(t, cluster.Kill())
	require.NoError(t, cluster.Stop())
	assert.NoDirExists(t, filepath.Dir(cluster.DataDir()))
	assert.False(t, segmentExists(t, segment))
}

func TestAClusterIsGoneAfterItsParentWasKilled(t *testing.T) {
	t.Parallel()
	if _, err := ephemeral.FindBinaries(""); err != nil {
		t.Skip(err)
	}
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), childVariable+"=1")
	parent.Stderr = os.Stderr
	out, err := parent.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	t.Cleanup(func() { _ = parent.Process.Kill() })

	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	var pid int
	var folder, url string
	_, err = fmt.Sscan(line, &pid, &folder, &url)
	require.NoError(t, err)
	connect(t, url)
	require.True(t, alive(pid))
	segment := segmentOf(t, folder)

	require.NoError(t, parent.Process.Kill())
	_ = parent.Wait()

	// Well before the server itself would notice that its files are gone.
	assert.Eventually(t, func() bool { return !alive(pid) }, 8*time.Second, 10*time.Millisecond, "the server outlived its parent")
	assert.Eventually(t, func() bool {
		_, err := os.Stat(filepath.Dir(folder))
		return os.IsNotExist(err)
	}, 20*time.Second, 10*time.Millisecond, "the folder outlived its parent")
	assert.False(t, segmentExists(t, segment))
}

func TestAClusterOutlivesItsLastReference(t *testing.T) {
	t.Parallel()
	if _, err := ephemeral.FindBinaries(""); err != nil {
		t.Skip(err)
	}
	url := func() string {
		cluster, err := ephemeral.Start(within(t, time.Minute), ephemeral.Options{})
		require.NoError(t, err)
		return cluster.URL("")
	}()
	conn := connect(t, url)

	for range 5 {
		runtime.GC()
		time.Sleep(20 * time.Millisecond) // a guard that is let go takes about this long
	}

	require.NoError(t, conn.Ping(within(t, time.Minute)))
}

func TestARestartKeepsThePortAndTheData(t *testing.T) {
	t.Parallel()
	cluster := start(t, ephemeral.Options{})
	ways := []struct {
		name    string
		restart func(context.Context) error
	}{
		{"fast", func(ctx context.Context) error { return cluster.Restart(ctx, ephemeral.Fast) }},
		{"immediate", func(ctx context.Context) error { return cluster.Restart(ctx, ephemeral.Immediate) }},
		{"killed", func(ctx context.Context) error { return errors.Join(cluster.Kill(), cluster.StartAgain(ctx)) }},
	}
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			ctx := within(t, time.Minute)
			url, pid := cluster.URL(""), cluster.PID()
			before := connect(t, url)
			_, err := before.Exec(ctx, "CREATE TABLE "+way.name+" AS SELECT 1 AS kept")
			require.NoError(t, err)

			require.NoError(t, way.restart(ctx))

			assert.Equal(t, url, cluster.URL(""))
			assert.NotEqual(t, pid, cluster.PID())
			assert.False(t, alive(pid))
			require.Error(t, before.Ping(ctx), "a session does not survive its server")
			var kept int
			require.NoError(t, connect(t, url).QueryRow(ctx, "SELECT kept FROM "+way.name).Scan(&kept))
			assert.Equal(t, 1, kept)
		})
	}
}

func TestAKilledServerIsDownUntilItIsStartedAgain(t *testing.T) {
	t.Parallel()
	cluster := start(t, ephemeral.Options{})
	pid := cluster.PID()

	require.NoError(t, cluster.Kill())

	assert.Zero(t, cluster.PID())
	assert.False(t, alive(pid))
	require.NoError(t, cluster.Kill(), "killing what is dead does nothing")
	_, err := pgx.Connect(within(t, time.Minute), cluster.URL(""))
	require.Error(t, err)

	require.NoError(t, cluster.StartAgain(within(t, time.Minute)))
	again := cluster.PID()
	require.NoError(t, cluster.StartAgain(within(t, time.Minute)))
	assert.Equal(t, again, cluster.PID(), "starting what runs does nothing")
}

func TestACancelledStartLeavesNothing(t *testing.T) {
	t.Parallel()
	if _, err := ephemeral.FindBinaries(""); err != nil {
		t.Skip(err)
	}
	parent, err := os.MkdirTemp("/tmp", "onlyonce-parent-")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(parent, 0o755))
	t.Cleanup(func() { _ = os.RemoveAll(parent) })
	ctx, cancel := context.WithCancel(context.Background())
	cancel()

	_, err = ephemeral.Start(ctx, ephemeral.Options{Parent: parent})

	require.ErrorIs(t, err, context.Canceled)
	left, err := os.ReadDir(parent)
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestABadSettingFailsWithTheServersOwnWords(t *testing.T) {
	t.Parallel()
	if _, err := ephemeral.FindBinaries(""); err != nil {
		t.Skip(err)
	}
	_, err := ephemeral.Start(within(t, time.Minute), ephemeral.Options{Settings: map[string]string{"max_connections": "many"}})
	require.ErrorContains(t, err, `invalid value for parameter "max_connections"`)
}

func TestThePortIsOnTheLoopbackOnly(t *testing.T) {
	t.Parallel()
	cluster := start(t, ephemeral.Options{})
	conn := connect(t, cluster.URL(""))
	assert.Equal(t, "127.0.0.1", setting(t, conn, "listen_addresses"))

	// Somebody else's bind fails, so the port really is the server's.
	_, err := net.Listen("tcp", "127.0.0.1:"+setting(t, conn, "port"))
	require.ErrorIs(t, err, syscall.EADDRINUSE)
}
