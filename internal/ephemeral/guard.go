package ephemeral

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// working holds every guard from start to release. Without it a cluster whose caller keeps only the URL would be garbage,
// and collecting the pipe closes it: the guard would take the server away in the middle of its use.
var working sync.Map

// guardScript outlives us to clean up. It reads the server's process id, 0 for none, line by line from a pipe whose only
// other end is ours. That end closes when we end, whichever way; then the server is stopped and the folder removed.
//
// The wait is for the lock file as well as for the process: a server whose parent died may stay a zombie where nobody
// reaps. A server that was killed leaves a System V segment behind, named in the seventh line of its lock file.
const guardScript = `
trap '' INT TERM HUP QUIT
lock=$1/data/postmaster.pid
server=0
while read -r line; do server=$line; done
if [ "$server" -gt 0 ]; then
	kill -QUIT "$server"
	tries=0
	while [ -e "$lock" ] && kill -0 "$server"; do
		tries=$((tries + 1))
		if [ "$tries" -gt 200 ]; then kill -KILL "$server"; break; fi
		sleep 0.05
	done
fi
if [ -e "$lock" ]; then
	segment=$(sed -n '7s/^ *[0-9]* *\([0-9]*\).*/\1/p' "$lock")
	if [ -n "$segment" ]; then ipcrm -m "$segment"; fi
fi
tries=0
until rm -rf "$1"; do
	tries=$((tries + 1))
	if [ "$tries" -gt 50 ]; then exit 1; fi
	sleep 0.1
done
`

// guard is the process that runs guardScript.
type guard struct {
	cmd  *exec.Cmd
	pipe io.WriteCloser
}

func startGuard(folder string) (*guard, error) {
	// It keeps our account, not the server's: only we may remove the folder from any parent. Its output goes nowhere,
	// because go test waits for everyone who holds its own.
	cmd := exec.Command("/bin/sh", "-c", guardScript, "guard", folder)
	cmd.Dir = "/"
	detach(cmd, nil)
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start the cluster's guard: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the cluster's guard: %w", err)
	}
	g := &guard{cmd: cmd, pipe: pipe}
	working.Store(g, struct{}{})
	return g, nil
}

// watch names the process to stop at the end, 0 for none.
func (g *guard) watch(pid int) error {
	if _, err := fmt.Fprintln(g.pipe, pid); err != nil {
		return fmt.Errorf("the cluster's guard is gone, so nothing would clean up after this process: %w", err)
	}
	return nil
}

// release has the guard do its work now, and waits for the end of it.
func (g *guard) release() error {
	working.Delete(g)
	_ = g.pipe.Close()
	if err := g.cmd.Wait(); err != nil {
		return fmt.Errorf("clean up the cluster: guard: %w", err)
	}
	return nil
}

// leftovers is what release should have removed.
func leftovers(folder string) error {
	if _, err := os.Stat(folder); !os.IsNotExist(err) {
		return fmt.Errorf("the cluster's folder %s is still there: remove it", filepath.Clean(folder))
	}
	return nil
}
