package stack

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/wireproxy"
)

// stopped returns a server whose first matching statement waits at a proxy.
func stopped(t *testing.T, w *world, with settings, match func(wireproxy.Statement) bool) (*server, *wireproxy.Point) {
	t.Helper()
	proxy, url := w.behind(t, wireproxy.Config{})
	with.URL = url
	return startServer(t, with), proxy.At(match, wireproxy.Stop)
}

func isPaymentInsert(s wireproxy.Statement) bool {
	return strings.Contains(s.SQL, "INSERT INTO payments")
}

// isPing is how pgxpool looks whether a connection lives that has been idle for a second.
func isPing(s wireproxy.Statement) bool { return strings.HasPrefix(s.SQL, "-- ping") }

// nth matches the n-th statement, from 1, from now on.
func nth(n int) func(wireproxy.Statement) bool {
	seen := 0
	return func(s wireproxy.Statement) bool {
		if isPing(s) {
			return false
		}
		seen++
		return seen == n
	}
}

// halt is where something stands still until it is told to go on.
type halt interface {
	Reached() <-chan struct{}
	Resume()
}

// reach waits until a request has come to a halt, and fails the test if it is answered before.
func reach(t *testing.T, point halt, replies <-chan reply) {
	t.Helper()
	select {
	case <-point.Reached():
	case r := <-replies:
		t.Fatalf("answered without coming to the point: %v %s", r, r.body)
	case <-time.After(patience):
		t.Fatalf("not at the point within %v", patience)
	}
}

// place is where a request can be broken: before a statement, or between the server's answer to it and the client.
type place struct {
	name   string
	key    string // fit to be part of one
	match  func() func(wireproxy.Statement) bool
	action wireproxy.Action
}

// places runs one request and returns every place between two of its statements, and the one after the last. What the
// request sends is observed, not known here: another sequence has other places.
func places(t *testing.T, w *world, with settings) []place {
	t.Helper()
	proxy, url := behind(t, with.URL, wireproxy.Config{})
	with.URL = url
	observed := startServer(t, with)
	require.Equal(t, 201, observed.send(payFor("alice", "observed")).status)
	t.Logf("statements of a request, as connection.trip:\n%s", wireproxy.Lines(proxy.Executed()))
	var all []place
	for i, s := range proxy.Executed() {
		number := i + 1
		words := strings.Fields(s.SQL)
		sql := strings.Join(words[:min(len(words), 2)], " ")
		match := func() func(wireproxy.Statement) bool { return nth(number) }
		all = append(all, place{fmt.Sprintf("before %d %s", number, sql), fmt.Sprintf("before-%d", number), match, wireproxy.Stop})
		if s.Commits() {
			all = append(all, place{fmt.Sprintf("after %d %s", number, sql), fmt.Sprintf("after-%d", number), match, wireproxy.StopAfter})
		}
	}
	require.Greater(t, len(all), 5, "a payment has more statements than that")
	require.Equal(t, wireproxy.StopAfter, all[len(all)-1].action, "the last statement is the COMMIT")
	return all
}
