package keytable

import (
	"math"
	"sync"
	"time"
)

// A pass from the beginning that took longer than slowPass is made again after restAfterPass times what it took, but within
// longestRest.
const (
	slowPass      = time.Second
	restAfterPass = 100
	longestRest   = 10 * time.Minute
)

// Beginning is before every expiry, which are in microseconds since the Epoch.
const Beginning = math.MinInt64

// Reaping is how far this process has reaped. It is a hint about where the records begin that are over, and no more: one may come
// to be before it whose transaction was committed late, that was locked, that a failover brought back, or whose expiry
// somebody has changed. So now and then a pass is made from the beginning; at every opportunity, as long as that is cheap.
type Reaping struct {
	mu sync.Mutex
	// from is where the next batch begins, and farthest the latest expiry that was reaped. They differ while records are reaped
	// that a pass from the beginning has found.
	from, farthest int64
	begun          bool // from and farthest are set
	rest           time.Time
}

// Next returns where to begin.
func (r *Reaping) Next() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.begun {
		return Beginning
	}
	return r.from
}

// Got notes what a batch has deleted: whether it was full, and the latest expiry among it, which is the Beginning where nothing was
// deleted, or nothing that has an expiry.
func (r *Reaping) Got(full bool, last int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if last != Beginning && (!r.begun || last > r.farthest) {
		r.farthest, r.begun = last, true
	}
	r.from = r.farthest
	if full && last != Beginning {
		r.from = last
	}
}

// Due reports whether to make a pass from the beginning.
func (r *Reaping) Due() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !time.Now().Before(r.rest)
}

// FromTheBeginning notes how long a pass from the beginning took.
func (r *Reaping) FromTheBeginning(took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rest = time.Time{}
	if took > slowPass {
		r.rest = time.Now().Add(min(restAfterPass*took, longestRest))
	}
}

// Rest returns for how long the next pass from the beginning is put off.
func (r *Reaping) Rest() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return max(0, time.Until(r.rest))
}
