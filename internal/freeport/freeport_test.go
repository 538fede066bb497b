package freeport_test

import (
	"net"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/freeport"
)

func TestAPortIsFreeAndSoAreThoseAtItsDistances(t *testing.T) {
	t.Parallel()
	for range 50 {
		port, err := freeport.Find(1, 10_000)
		require.NoError(t, err)
		require.GreaterOrEqual(t, port, 15_000)
		require.Less(t, port+10_000, 32_000)
		for _, distance := range []int{0, 1, 10_000} {
			listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port+distance)))
			require.NoError(t, err)
			t.Cleanup(func() { _ = listener.Close() }) // and is not free for those that follow
		}
	}
}

func TestWhereNothingIsFreeNothingIsFound(t *testing.T) {
	t.Parallel()
	const distance = 16_999 // which leaves one pair
	for _, taken := range []string{"15000", "31999"} {
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", taken))
		_, failure := freeport.Find(distance)
		if err == nil { // else somebody else has it, which is as good
			_ = listener.Close()
		}
		require.ErrorContains(t, failure, "no free port found")
	}
}
