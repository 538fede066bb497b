package gateway

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/keytable"
	"github.com/onlyonce/onlyonce/internal/wireproxy"
)

// moment is when something happens to the gateway.
type moment string

const (
	never    moment = "nothing"
	claimed  moment = "before it is passed on"
	working  moment = "while it is worked on"
	answered moment = "before the outcome is stored"
	stored   moment = "after the outcome was stored"
)

// deed is what happens to it then.
type deed string

const (
	nothing deed = ""
	killed  deed = "SIGKILL"
	stopped deed = "SIGSTOP until the lease is over"
)

// cell is one line of the matrix: a request meets a fate upstream, and a deed is done to its gateway at a moment. Another gateway answers the retry,
// which the upstream answers.
type cell struct {
	fate    fate
	unknown string
	moment  moment
	deed    deed

	did   int    // how often it was done in the end
	left  string // what the first attempt has left of the key
	first int    // the status that the first attempt was answered by; 0: none
}

// cells are all that there are, with what docs/gateway.md says of them.
func cells() (list []cell) {
	for _, unknown := range []string{"hold", "release"} {
		held := map[string]string{"hold": "pending", "release": ""}[unknown]
		list = append(list,
			cell{answers, unknown, never, nothing, 1, "completed", 201},
			cell{declines, unknown, never, nothing, 0, "completed", 402},
			cell{fails, unknown, never, nothing, 1, "", 500},
			cell{failsAfter, unknown, never, nothing, 2, "", 500},
			cell{refuses, unknown, never, nothing, 1, "", 502},
			cell{closes, unknown, never, nothing, 1, held, 502},
			cell{closesAfter, unknown, never, nothing, 2, held, 502},
			cell{cuts, unknown, never, nothing, 2, held, 502},
			cell{stalls, unknown, never, nothing, 2, held, 504},
			cell{hangs, unknown, never, nothing, 2, held, 504},
			cell{hangsBefore, unknown, never, nothing, 1, held, 504},
		)
		for _, deed := range []deed{killed, stopped} {
			list = append(list,
				cell{answers, unknown, claimed, deed, 1, "pending", 0},
				cell{answers, unknown, working, deed, 2, "pending", 0},
				cell{hangsBefore, unknown, working, deed, 1, "pending", 0},
				cell{answers, unknown, answered, deed, 2, "pending", 0},
				cell{failsAfter, unknown, answered, deed, 2, "pending", 0},
				cell{fails, unknown, answered, deed, 1, "pending", 0},
				cell{answers, unknown, stored, deed, 1, "completed", 0},
				cell{fails, unknown, stored, deed, 1, "", 0},
			)
		}
	}
	return list
}

const (
	// longLease is longer than any cell takes: it is the test that ends leases.
	longLease = 5 * time.Minute
	// shortLease ends by itself.
	shortLease = 6 * time.Second
)

// timeout is longer than an upstream that answers takes on a machine that has much else to do, and not longer than the test has time for where it is
// waited for.
func (c cell) timeout() time.Duration {
	switch {
	case c.fate == stalls || c.fate == hangs || c.fate == hangsBefore:
		return 3 * time.Second
	case c.woken():
		return shortLease - time.Second
	}
	return patience / 2
}

// woken reports whether a gateway is to find, by its own clock, that it has slept past its lease and must not pass the request on any more.
func (c cell) woken() bool { return c.moment == claimed && c.deed == stopped }

func TestTheCrashMatrixOfTheProxyDoublesOnlyWhatItsPageSays(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var lines []string
	doubled := 0
	t.Run("cells", func(t *testing.T) {
		for _, c := range cells() {
			t.Run(strings.Join([]string{string(c.fate), c.unknown, string(c.moment), string(c.deed)}, ", "), func(t *testing.T) {
				t.Parallel()
				c.run(t)
				mu.Lock()
				defer mu.Unlock()
				if c.did > 1 {
					doubled++
				}
				lines = append(lines, fmt.Sprintf("%-32s %-8s %-30s %-32s done %d, left %q", c.fate, c.unknown, c.moment, c.deed, c.did, c.left))
			})
		}
	})
	slices.Sort(lines)
	t.Logf("%d cells, %d of them done twice, none stuck\n%s", len(lines), doubled, strings.Join(lines, "\n"))
}

func (c cell) run(t *testing.T) {
	lease := longLease
	if c.woken() {
		lease = shortLease
	}
	w := newWorld(t, settings{unknown: c.unknown, timeout: c.timeout(), lease: lease}, func(_ string, call int) fate {
		if call == 1 && c.fate != refuses {
			return c.fate
		}
		return answers
	})
	if c.fate == refuses {
		w.upstream.close()
	}
	mine, other := w.watched(), w.direct()

	first := make(chan answer, 1)
	reached, proceed := c.arrange(w)
	go func() { first <- mine.post("r") }()
	switch c.deed {
	case killed:
		await(t, "the moment", reached)
		mine.kill() // and with it what was held of what it had sent
	case stopped:
		await(t, "the moment", reached)
		mine.signal(syscall.SIGSTOP)
	}
	if c.moment == working {
		proceed()
	}
	if c.deed != stopped {
		require.Equal(t, c.first, (<-first).status, "what the first attempt was answered by")
	}
	c.retry(w, other)
	if c.deed == stopped { // it wakes, and finds that it is not its own any more
		mine.signal(syscall.SIGCONT)
		if c.moment != working {
			proceed()
		}
		woken := <-first
		require.Contains(t, []int{201, 409, 500, 502, 503, 504}, woken.status)
		final := other.post("r")
		require.True(t, final.replayed)
		if woken.status == 201 {
			require.Equal(t, final.body, woken.body)
		}
		again := mine.post("r")
		require.Equal(t, final, again, "what stands")
	}
	did, _ := w.upstream.did("r")
	require.Equal(t, c.did, did, "how often it was done")
}

// arrange returns what is closed when the moment has come, and a function that lets go on what was held for it.
func (c cell) arrange(w *world) (reached <-chan struct{}, proceed func()) {
	atEnd := w.at(func(s keytable.Statements) string { return s.Settle })
	if c.fate == fails || c.fate == failsAfter {
		atEnd = w.at(func(s keytable.Statements) string { return s.Free })
	}
	point := func(match func(wireproxy.Statement) bool, action wireproxy.Action) (<-chan struct{}, func()) {
		p := w.line.At(match, action)
		return p.Reached(), p.Resume
	}
	switch c.moment {
	case claimed:
		return point(w.at(func(s keytable.Statements) string { return s.Acquire }), wireproxy.StopAfter)
	case working:
		return w.upstream.hold()
	case answered:
		return point(atEnd, wireproxy.Stop)
	case stored:
		return point(atEnd, wireproxy.StopAfter)
	}
	return nil, func() {}
}

// retry does what a client does: it asks again until it has an answer, which has to be there once the lease is over.
func (c cell) retry(w *world, g *gateway) {
	w.Helper()
	left := w.key("r")
	require.Equal(w, c.left, left.state, "what the first attempt has left of the key")
	if c.fate == refuses {
		w.upstream.open()
	}
	if left.state == "pending" {
		require.LessOrEqual(w, left.left, w.lease, "the longest that the key can be stuck")
		if c.woken() {
			require.Eventually(w, func() bool { return w.key("r").left < 0 }, patience, 10*time.Millisecond)
		} else {
			require.Equal(w, answer{status: 409, code: "in-progress"}, g.post("r").bare(), "as long as the lease lasts")
			w.endLease("r")
		}
	}
	final := g.post("r")
	require.True(w, final.final(), "%+v", final)
	require.Equal(w, left.state == "completed", final.replayed, "%+v", final)
	again := g.post("r")
	require.True(w, again.replayed)
	require.Equal(w, final.body, again.body)
	require.Equal(w, "completed", w.key("r").state)
}

// bare returns a without its body.
func (a answer) bare() answer {
	a.body = ""
	return a
}
