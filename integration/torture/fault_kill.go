package torture

import "context"

var kill = fault{
	name: "kill", about: "SIGKILL of a server, which is started again", possible: always,
	strike: func(ctx context.Context, w *world, s Strike) bool {
		return w.servers[s.Server].kill(ctx)
	},
}
