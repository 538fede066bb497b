package gateway

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fleet are gateways of which one is killed now and then, and another one started in its place.
type fleet struct {
	mu      sync.RWMutex
	running []*gateway
}

func (f *fleet) one() string {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.running[rand.IntN(len(f.running))].url
}

func (f *fleet) replace(at int, start func() *gateway) {
	f.mu.RLock()
	old := f.running[at]
	f.mu.RUnlock()
	old.kill()
	next := start()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running[at] = next
}

// operation is what became of one key.
type operation struct {
	reference string
	final     answer
	doubts    int // attempts whose outcome its client was not told
	waited    time.Duration
}

// Between a deed upstream and its being written down there is a moment that no gateway can close. The storm strikes it: what it doubles has been in doubt
// before, each time, and what was never in doubt was done once.
func TestAStormOfKillsDoublesOnlyWhatWasInDoubtAndLeavesNothingStuck(t *testing.T) {
	onEveryStore(t, storm)
}

func storm(t *testing.T, in open) {
	const kills, clients = 20, 12
	w := in(t, settings{unknown: "hold", timeout: 300 * time.Millisecond, lease: 1500 * time.Millisecond, wait: time.Second}, func(_ string, call int) fate {
		if call > 1 || rand.IntN(4) > 0 { // most are lucky, but for what the kills do
			return answers
		}
		return []fate{closes, closesAfter, cuts, hangs, hangsBefore, fails, failsAfter}[rand.IntN(7)]
	})
	f := &fleet{running: []*gateway{w.direct(), w.direct()}}
	over := make(chan struct{})
	var operations []operation
	var mu sync.Mutex
	var working sync.WaitGroup
	var count atomic.Int64
	for range clients {
		working.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				o := f.finish(fmt.Sprintf("order-%d", count.Add(1)))
				mu.Lock()
				operations = append(operations, o)
				mu.Unlock()
			}
		})
	}
	for n := range kills {
		f.replace(n%2, w.direct) // which takes as long as a proxy takes to start
	}
	close(over)
	working.Wait()

	doubled, inDoubt, most, longest := 0, 0, 0, time.Duration(0)
	for _, o := range operations {
		require.True(t, o.final.final(), "%s has no answer: %+v", o.reference, o.final)
		did, _ := w.upstream.did(o.reference)
		require.GreaterOrEqual(t, did, 1, "%s was answered 201 and not done", o.reference)
		require.LessOrEqual(t, did, 1+o.doubts, "%s was done more often than its client was left in doubt", o.reference)
		if did > 1 {
			doubled++
		}
		if o.doubts > 0 {
			inDoubt++
		}
		most, longest = max(most, did), max(longest, o.waited)
		again := post(f.running[0].url, o.reference)
		require.True(t, again.replayed, "%s: %+v", o.reference, again)
		require.Equal(t, o.final.body, again.body)
	}
	require.Positive(t, inDoubt, "the storm has struck nothing")
	t.Logf("%d operations, %d kills: %d were in doubt once or more often, %d were done more than once, at most %d times; longest until an answer %v, with a lease of %v",
		len(operations), kills, inDoubt, doubled, most, longest.Round(time.Millisecond), w.lease)
}

// finish asks until there is an answer, each time one of the gateways.
func (f *fleet) finish(reference string) operation {
	o := operation{reference: reference}
	began := time.Now()
	for pause := 10 * time.Millisecond; time.Since(began) < patience; pause = min(2*pause, 100*time.Millisecond) {
		o.final = post(f.one(), reference)
		if o.final.final() {
			break
		}
		switch o.final.code {
		case "in-progress", "upstream-unreachable", "store-unavailable": // nothing of this attempt was passed on
		default:
			o.doubts++
		}
		time.Sleep(pause) // as clients do
	}
	o.waited = time.Since(began)
	return o
}
