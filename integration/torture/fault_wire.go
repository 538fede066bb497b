package torture

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"github.com/onlyonce/onlyonce/internal/wireproxy"
)

var (
	cutBeforeCommit = fault{
		name: "cut-before-commit", about: "a connection to the database is cut before a COMMIT has arrived", possible: always,
		strike: atCommit(wireproxy.CutBefore, wireproxy.ResetBefore),
	}
	cutAfterCommit = fault{
		name: "cut-after-commit", about: "a connection is cut after a COMMIT, before its reply", possible: always,
		strike: atCommit(wireproxy.CutAfter, wireproxy.ResetAfter),
	}
	lateCommit = fault{
		name: "late-commit", about: "a connection breaks with a COMMIT on its way, which arrives 50 ms to 1.5 s later", possible: always,
		strike: func(ctx context.Context, w *world, s Strike) bool {
			return w.servers[s.Server].wire(ctx, wireproxy.Orphan, s, settles())
		},
	}
	delay = fault{
		name: "delay", about: "a statement, or its answer, is held back for 50 ms to 1.5 s", possible: always,
		strike: func(ctx context.Context, w *world, s Strike) bool {
			action, match := wireproxy.Stop, anything
			if s.Coin&1 == 0 {
				action = wireproxy.StopAfter
			}
			if s.Coin&2 == 0 {
				match = settles()
			}
			return w.servers[s.Server].wire(ctx, action, s, match)
		},
	}
	reset = fault{
		name: "reset", about: "a connection is reset at any statement, or all of a server's at once", possible: always,
		strike: func(ctx context.Context, w *world, s Strike) bool {
			server := w.servers[s.Server]
			switch s.Coin % 3 {
			case 0:
				return server.wire(ctx, wireproxy.ResetBefore, s, anything)
			case 1:
				return server.wire(ctx, wireproxy.ResetAfter, s, anything)
			}
			now, _ := server.proxy.InUse()
			server.proxy.Reset()
			return now > 0
		},
	}
	halfClose = fault{
		name: "half-close", about: "the stream from the database ends at any statement, the other one does not", possible: always,
		strike: func(ctx context.Context, w *world, s Strike) bool {
			return w.servers[s.Server].wire(ctx, wireproxy.HalfClose, s, anything)
		},
	}
)

func anything(wireproxy.Statement) bool { return true }

// settles matches the COMMIT behind a statement that writes a key's row: where something is decided. The reaper's do not count.
func settles() func(wireproxy.Statement) bool {
	written := map[int]bool{} // by connection
	return func(s wireproxy.Statement) bool {
		if s.Commits() {
			return written[s.Connection]
		}
		written[s.Connection] = strings.Contains(s.SQL, "idempotency_keys") && (strings.Contains(s.SQL, "INSERT") || strings.Contains(s.SQL, "UPDATE"))
		return false
	}
}

func atCommit(actions ...wireproxy.Action) func(context.Context, *world, Strike) bool {
	return func(ctx context.Context, w *world, s Strike) bool {
		return w.servers[s.Server].wire(ctx, actions[s.Coin%uint64(len(actions))], s, settles())
	}
}

// wire acts at the next statement that matches, or at a later one. It reports whether one came.
func (s *server) wire(ctx context.Context, action wireproxy.Action, strike Strike, match func(wireproxy.Statement) bool) bool {
	var over atomic.Bool
	left := strike.Nth
	point := s.proxy.At(func(statement wireproxy.Statement) bool { // one call at a time
		if over.Load() || !match(statement) {
			return false
		}
		left--
		return left < 0
	}, action)
	defer point.Resume()
	bounded, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	select {
	case <-point.Reached():
	case <-point.Done(): // a connection that ended before it was acted upon
		return false
	case <-bounded.Done():
		over.Store(true)
		select {
		case <-point.Reached():
		default:
			return false
		}
	}
	switch action {
	case wireproxy.Stop, wireproxy.StopAfter, wireproxy.Orphan:
		pause(ctx, strike.length(50*time.Millisecond, 1500*time.Millisecond))
		point.Resume()
	}
	select {
	case <-point.Done():
	case <-bounded.Done():
	}
	return true
}
