package torture

import (
	"context"
	"time"
)

var diskFull = fault{
	name: "disk-full", about: "the disk with the tables on it is full for 0.5 to 2 s", rare: true,
	possible: func(w *world) error { return w.database.diskErr },
	strike: func(ctx context.Context, w *world, s Strike) bool {
		before := w.sqlStates("53100")
		if err := w.database.disk.fill(); err != nil {
			w.complain("the disk cannot be filled: %v", err)
			return false
		}
		pause(ctx, s.length(500*time.Millisecond, 2*time.Second))
		if err := w.database.disk.free(); err != nil {
			w.complain("the disk stays full: %v", err)
		}
		return w.sqlStates("53100") > before
	},
}
