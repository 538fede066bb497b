package pgstore

import (
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// A pass from the beginning that took longer than slowPass is made again after restAfterPass times what it took, but within
// longestRest.
const (
	slowPass      = time.Second
	restAfterPass = 100
	longestRest   = 10 * time.Minute
)

// beginning is before every expiry.
var beginning = pgtype.Timestamptz{InfinityModifier: pgtype.NegativeInfinity, Valid: true}

// reaping is how far this process has reaped. It is a hint about where the records begin that are over, and no more: one may come
// to be before it whose transaction was committed late, that was locked, that a failover brought back, or whose expiry
// somebody has changed. So now and then a pass is made from the beginning; at every opportunity, as long as that is cheap.
type reaping struct {
	mu sync.Mutex
	// from is where the next batch begins, and farthest the latest expiry that was reaped. They differ while records are reaped
	// that a pass from the beginning has found.
	from, farthest pgtype.Timestamptz
	rest           time.Time
}

// next returns where to begin.
func (r *reaping) next() pgtype.Timestamptz {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.from.Valid {
		return beginning
	}
	return r.from
}

// got notes what a batch has deleted, and the latest expiry among it.
func (r *reaping) got(full bool, last pgtype.Timestamptz) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if last.Valid && last.InfinityModifier == pgtype.Finite && (!r.farthest.Valid || last.Time.After(r.farthest.Time)) {
		r.farthest = last
	}
	r.from = r.farthest
	if full && last.Valid {
		r.from = last
	}
}

// due reports whether to make a pass from the beginning.
func (r *reaping) due() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !time.Now().Before(r.rest)
}

// fromTheBeginning notes how long a pass from the beginning took.
func (r *reaping) fromTheBeginning(took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rest = time.Time{}
	if took > slowPass {
		r.rest = time.Now().Add(min(restAfterPass*took, longestRest))
	}
}
