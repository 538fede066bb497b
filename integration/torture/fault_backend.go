package torture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/onlyonce/onlyonce/internal/ephemeral"
)

var errNotOurs = errors.New("the database is not one of our own, which could be broken as a whole")

func ours(w *world) error {
	if w.database.cluster == nil {
		return errNotOurs
	}
	return nil
}

var terminate = fault{
	name: "terminate", about: "pg_terminate_backend of one of the servers' connections", possible: always,
	strike: func(ctx context.Context, w *world, s Strike) bool {
		pid, found := w.database.backend(ctx, s.Coin)
		if !found {
			return false
		}
		var done bool
		err := w.database.pool.QueryRow(ctx, "SELECT pg_terminate_backend($1)", pid).Scan(&done)
		return err == nil && done
	},
}

var backend = fault{
	name: "backend", about: "SIGKILL of one of their backends, after which the database recovers from a crash", rare: true, possible: ours,
	strike: func(ctx context.Context, w *world, s Strike) bool {
		pid, found := w.database.backend(ctx, s.Coin)
		return found && isChild(pid, w.database.cluster.PID()) && syscall.Kill(pid, syscall.SIGKILL) == nil
	},
}

// isChild reports whether a process is still the cluster's, where the system tells.
func isChild(pid, parent int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		_, err := os.Stat("/proc/self/stat")
		return os.IsNotExist(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	return len(fields) > 1 && fields[1] == fmt.Sprint(parent)
}

var restart = fault{
	name: "restart", about: "an immediate stop and a start of the database", rare: true, possible: ours,
	strike: func(_ context.Context, w *world, _ Strike) bool {
		// Not ctx: a database that was stopped must be started.
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := w.database.cluster.Restart(ctx, ephemeral.Immediate); err != nil {
			w.complain("the database did not come back: %v", err)
			return false
		}
		return true
	},
}
