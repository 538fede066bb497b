package ephemeral

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
)

// freePort returns a port below those that systems hand out for outgoing connections. One of those could be taken, by a
// client that dials us in vain while the server restarts, just when the server wants it back.
func freePort() (int, error) {
	for range 100 {
		port := 15_000 + rand.IntN(17_000)
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		return port, listener.Close()
	}
	return 0, errors.New("no free port found on 127.0.0.1 between 15000 and 32000 in 100 tries")
}
