package main_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/gateway/kong/internal/kongtest"
)

// cell is one line of the matrix: what becomes of a request, and before which of its phases the plugin's process is killed.
type cell struct {
	says   string
	fate   kongtest.Fate
	status int
	did    int // how often the service did what it was asked: 0 or 1

	left string // of the key, where unknown is hold
	// twice says that the retry does it again, which docs/gateway.md admits.
	twice bool
}

var cells = []cell{
	{"answers 201", kongtest.Answers, 201, 1, "completed", false},
	{"answers 402", kongtest.Answers, 402, 0, "completed", false},
	{"answers 500 before it did it", kongtest.Answers, 500, 0, "none", false},
	{"answers 500 after it did it", kongtest.Answers, 500, 1, "none", true},
	{"answers a client that is gone", kongtest.Vanishes, 201, 1, "completed", false},
	{"is not there", kongtest.Refuses, 0, 0, "pending, leased", false},
	{"times out, or cuts its answer short, and did it", kongtest.IsCut, 0, 1, "pending, leased", true},
	{"times out, and did nothing", kongtest.IsCut, 0, 0, "pending, leased", false},
	{"answers, and Kong's worker dies", kongtest.WorkerDies, 201, 1, "pending, leased", true},
	{"answers by HTTP/2, past the plugin", kongtest.Unbuffered, 201, 1, "pending, leased", true},
}

func TestTheCrashMatrixOfThePluginDoublesOnlyWhatItsPageSays(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var lines []string
	doubled := 0
	t.Run("cells", func(t *testing.T) {
		for _, unknown := range []string{"hold", "release"} {
			for _, killed := range []string{"", "access", "response", "log"} {
				t.Run(unknown+", killed before "+killed, func(t *testing.T) {
					t.Parallel()
					g := begin(t, map[string]any{"unknown": unknown, "allow_http2": true})
					for i, c := range cells {
						done := c.run(g, fmt.Sprintf("key-%d", i), unknown, killed)
						mu.Lock()
						if done > 1 {
							doubled++
						}
						lines = append(lines, fmt.Sprintf("%-50s %-8s %-12s done %d", c.says, unknown, killed, done))
						mu.Unlock()
					}
				})
			}
		}
	})
	slices.Sort(lines)
	t.Logf("the service …, unknown outcomes are …, the plugin is killed before …\n%d cells, %d of them done twice, none stuck\n%s", len(lines), doubled, strings.Join(lines, "\n"))
}

// run has a request meet its fate, and retries it, by which time the service answers. It returns how often it was done.
func (c cell) run(g *gateway, key, unknown, killed string) (done int) {
	g.Service = func(kongtest.Request) kongtest.Answer {
		return kongtest.Answer{Status: c.status, Body: []byte("first")}
	}
	g.BeforePhase = func(phase string) {
		if phase == killed {
			g.server.Kill()
			g.server.Restart()
		}
	}
	first := g.Do(g.t, payment(key), c.fate)
	require.True(g.t, first.Passed, c.says)
	g.BeforePhase = nil
	done = c.did

	left := c.left
	if left == "pending, leased" && unknown == "release" && c.fate != kongtest.WorkerDies && c.fate != kongtest.Unbuffered {
		left = "none"
	}
	require.Equal(g.t, left, g.row(key), c.says)
	g.Service = func(kongtest.Request) kongtest.Answer { return kongtest.Answer{Status: 201, Body: []byte("second")} }
	second := g.Do(g.t, payment(key), kongtest.Answers)
	if left == "pending, leased" {
		require.Equal(g.t, 409, second.Client.Status, c.says)
		g.leaseEnds(key)
		second = g.Do(g.t, payment(key), kongtest.Answers)
	}
	if second.Passed {
		done++
	}
	third := g.Do(g.t, payment(key), kongtest.Answers)
	assert.False(g.t, third.Passed, c.says)
	assert.Equal(g.t, string(second.Client.Body), string(third.Client.Body), c.says)
	assert.Equal(g.t, "completed", g.row(key), c.says)
	assert.Equal(g.t, c.twice, done > 1, "%s: done %d times", c.says, done)
	return done
}
