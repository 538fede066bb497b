package server_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestShutdownFinishesThePaymentThatRuns(t *testing.T) {
	t.Parallel()
	eachShell(t, func(t *testing.T, shell string) {
		s := start(t, shell)
		release := s.lockAccount("alice")
		first := s.startBlockedPayment(alice, "k-1", oneDollar)

		s.stop()
		address := strings.TrimPrefix(s.url, "http://")
		require.Eventually(t, func() bool {
			conn, err := net.Dial("tcp", address)
			if err == nil {
				_ = conn.Close()
			}
			return err != nil
		}, 10*time.Second, 5*time.Millisecond, "the server takes no new connections")
		select {
		case err := <-s.stopped:
			t.Fatalf("the server ended, with %v, while a payment ran", err)
		default:
		}

		release()
		paid := <-first
		require.Equal(t, 201, paid.status, paid.body)
		require.NoError(t, <-s.stopped)
		s.requireBooks(1)
	})
}
