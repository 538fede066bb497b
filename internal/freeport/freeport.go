// Package freeport finds ports for servers that the tests, and throw-away clusters, start.
package freeport

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
)

// Those that systems hand out for outgoing connections begin above. One of those could be taken, by a client that dials in vain, just when a
// server wants it, or wants it back.
const first, last = 15_000, 32_000

// Find returns a port of 127.0.0.1 that is free, and so is the one at each distance above it. Somebody else may take it before the caller does.
func Find(distances ...int) (int, error) {
	room := last - first
	for _, distance := range distances {
		room = min(room, last-first-distance)
	}
	for range 100 {
		if port := first + rand.IntN(room); areFree(port, distances) {
			return port, nil
		}
	}
	return 0, errors.New("no free port found on 127.0.0.1 between 15000 and 32000 in 100 tries")
}

func areFree(port int, distances []int) bool {
	for _, distance := range append([]int{0}, distances...) {
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port+distance)))
		if err != nil {
			return false
		}
		_ = listener.Close()
	}
	return true
}
