package torture

import (
	"context"
	"time"
)

// A server stands still until its leases and its transactions are over, and then at most this long: more often little, so that it wakes
// while its successors are at work, than much.
const oversleeps = 2 * time.Second

var stop = fault{
	name: "stop", about: "SIGSTOP of a server for longer than its lease, and SIGCONT", possible: always,
	strike: func(ctx context.Context, w *world, s Strike) bool {
		// One goes on, or nobody would do in the meantime what the stopped ones must not do again.
		if !w.standing.take(len(w.servers) - 1) {
			return false
		}
		defer w.standing.give()
		thaw, stopped := w.servers[s.Server].freeze()
		if !stopped {
			return false
		}
		defer thaw()
		pause(ctx, w.config.Lease*11/10+time.Duration(s.Length*s.Length*float64(oversleeps)))
		return true
	},
}
