package redisserver_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/redisserver"
)

func start(t *testing.T, arguments ...string) *redisserver.Server {
	t.Helper()
	server, err := redisserver.Start(t.Context(), arguments...)
	if errors.Is(err, redisserver.ErrNoProgram) {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Stop() })
	return server
}

// says sends a command, and returns the first line of the reply.
func says(t *testing.T, server *redisserver.Server, command string) string {
	t.Helper()
	conn, err := net.DialTimeout("tcp", server.Address, 5*time.Second)
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "%s\r\n", command)
	require.NoError(t, err)
	line, err := bufio.NewReader(conn).ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSpace(line)
}

func TestAServerThatIsKilledComesBackWithItsDataAndIsGoneInTheEnd(t *testing.T) {
	t.Parallel()
	server := start(t, "--appendonly", "yes", "--appendfsync", "always")
	require.Equal(t, "+OK", says(t, server, "SET a b"))
	require.NoError(t, server.Kill())
	_, err := net.DialTimeout("tcp", server.Address, time.Second)
	require.Error(t, err)
	require.NoError(t, server.Restart(t.Context()))
	require.Equal(t, ":1", says(t, server, "EXISTS a"))
	pid := server.PID()
	require.NoError(t, server.Stop())
	require.NoDirExists(t, fmt.Sprint("/proc/", pid))
	require.NoError(t, server.Stop(), "a second time does nothing")
}

func TestTwoServersAreOfTwoPorts(t *testing.T) {
	t.Parallel()
	one, another := start(t), start(t)
	require.NotEqual(t, one.Address, another.Address)
	require.Equal(t, "+OK", says(t, one, "SET a b"))
	require.Equal(t, ":0", says(t, another, "EXISTS a"))
}

func TestAServerThatDoesNotStartSaysSo(t *testing.T) {
	t.Parallel()
	_, err := redisserver.Start(t.Context(), "--maxmemory-policy", "nonsense")
	if errors.Is(err, redisserver.ErrNoProgram) {
		t.Skip(err)
	}
	require.ErrorContains(t, err, "it ended at once")
}
