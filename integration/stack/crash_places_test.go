package stack

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/examples/payments/psp"
	"github.com/onlyonce/onlyonce/internal/wireproxy"
)

// boundary is where a process that takes a card payment can be hit: at a statement, or inside of its call to the provider.
type boundary struct {
	name      string
	statement int              // the one it stands before or behind, from 1; 0 at the provider
	action    wireproxy.Action // Stop or StopAfter
	stage     psp.Stage        // at the provider
	// midway: the client has sent the statement in one go with what comes before it. A process that is hit there has sent it all, and
	// a server that got a part would wait for the rest, and not think of idle_in_transaction_session_timeout.
	midway bool
	// killed and stopped are how many statements the database has executed in the end, if the process is killed here, and if it
	// is stopped here.
	killed, stopped int
}

// route is what an undisturbed card payment does, as observed: another sequence has other boundaries.
type route struct {
	boundaries []boundary
	commit     int // the statement that makes something of the payment last
	called     int // the one behind which the provider is called
	charged    int // the one that keeps what it said, or commits that
	length     int
}

// hit has the next payment of the victim come to a halt at the boundary.
func (b boundary) hit(t *testing.T, proxy *wireproxy.Proxy, p *provider) halt {
	t.Helper()
	if b.statement == 0 {
		return p.gate(t, victim, b.stage)
	}
	seen := 0
	return proxy.At(func(s wireproxy.Statement) bool {
		if aside(s) {
			return false
		}
		seen++
		return seen == b.statement
	}, b.action)
}

// aside is a statement that depends on how long things take.
func aside(s wireproxy.Statement) bool {
	return isPing(s) || strings.Contains(s.SQL, "SET leased_until") // a lease is renewed
}

// observe makes one card payment and returns its route.
func observe(t *testing.T, url string, with cardSettings) route {
	t.Helper()
	proxy, through := behind(t, url, wireproxy.Config{})
	executed := func() (own []wireproxy.Statement) {
		for _, s := range proxy.Executed() {
			if !aside(s) {
				own = append(own, s)
			}
		}
		return own
	}
	called := 0
	p := startProvider(t)
	p.called = func() { called = len(executed()) }
	with.URL, with.Provider, with.Lease = through, p.to("observed"), time.Minute
	require.Equal(t, 201, cardsHere(t, with).send(byCard("observed-"+t.Name(), amount)).status)

	statements := executed()
	t.Logf("statements of a card payment, as connection.trip; the provider is called after the first %d:\n%s", called, wireproxy.Lines(statements))
	require.Positive(t, called, "the provider was not called")
	r := route{called: called, length: len(statements)}
	inTransaction := called < len(statements) && strings.EqualFold(brief(statements[called])[:5], "BEGIN")
	for i, s := range statements {
		number := i + 1
		if r.commit == 0 && s.Commits() {
			r.commit = number
		}
		if r.charged == 0 && number > called && (s.Commits() || !inTransaction) {
			r.charged = number
		}
		first, last := i == 0 || !sameTrip(statements[i-1], s), i == len(statements)-1 || !sameTrip(s, statements[i+1])
		end := number // of the round trip
		for end < len(statements) && sameTrip(s, statements[end]) {
			end++
		}
		before := boundary{name: fmt.Sprintf("before %d %s", number, brief(s)), statement: number, action: wireproxy.Stop, killed: number - 1, stopped: number - 1}
		if !first || with.BehindPooler { // where nothing is prepared, each statement comes in two parts
			before.midway, before.stopped = true, end
		}
		r.boundaries = append(r.boundaries, before)
		if last { // of a pipeline that goes on, behind a statement is before the next
			r.boundaries = append(r.boundaries, boundary{name: fmt.Sprintf("after %d %s", number, brief(s)), statement: number,
				action: wireproxy.StopAfter, killed: number, stopped: number})
		}
		if number == called {
			for _, stage := range providerStages {
				r.boundaries = append(r.boundaries, boundary{name: "provider " + string(stage), stage: stage, killed: called, stopped: called})
			}
		}
	}
	require.Positive(t, r.commit)
	require.Less(t, r.commit, called, "the payment is recorded before the provider hears of it")
	require.True(t, statements[len(statements)-1].Commits(), "the last statement is the COMMIT")
	return r
}

func sameTrip(a, b wireproxy.Statement) bool { return a.Connection == b.Connection && a.Trip == b.Trip }

func brief(s wireproxy.Statement) string {
	words := strings.Fields(s.SQL)
	return strings.Join(words[:min(len(words), 2)], " ")
}

// crash is one cell of the matrix.
type crash struct {
	name string
	boundary
	// frozen: the process is stopped, and goes on later. Otherwise it is killed.
	frozen bool
	// deserted: the client does not come back. The completer of another process is to do it.
	deserted bool
	// overlap: the stopped process goes on while the other one is at work; otherwise, when that is done.
	overlap bool
	// free: nothing is committed, so the key is free. charged: the charge is, and is not asked for again. done: everything is.
	free, charged, done bool
}

// cells are all that can happen to a payment, boundary by boundary.
func (r route) cells() []crash {
	var all []crash
	for _, b := range r.boundaries {
		for _, frozen := range []bool{false, true} {
			executed := b.killed
			if frozen {
				executed = b.stopped
			}
			for _, deserted := range []bool{false, true} {
				for _, overlap := range []bool{false, true} {
					c := crash{boundary: b, frozen: frozen, deserted: deserted, overlap: overlap,
						free: executed < r.commit, charged: executed >= r.charged, done: executed == r.length}
					if overlap && (!frozen || c.done || c.free && deserted) { // there is nobody at work
						continue
					}
					c.name = fmt.Sprintf("%s, %s, %s", b.name, choose(frozen, "SIGSTOP", "SIGKILL"), choose(deserted, "completer", "retry"))
					if overlap {
						c.name += ", wakes early"
					}
					all = append(all, c)
				}
			}
		}
	}
	return all
}

func choose(which bool, yes, no string) string {
	if which {
		return yes
	}
	return no
}

// some picks n cells, the same ones each time: spread over all boundaries, with what happens there in turn.
func some(all []crash, n int) []crash {
	var places [][]crash
	for i, c := range all {
		if i == 0 || all[i-1].boundary != c.boundary {
			places = append(places, nil)
		}
		last := len(places) - 1
		places[last] = append(places[last], c)
	}
	n = min(n, len(places))
	var picked []crash
	for i := range n {
		there := places[i*len(places)/n]
		picked = append(picked, there[i%len(there)])
	}
	return picked
}
