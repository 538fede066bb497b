package stack

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// serverVariable makes this test binary a server process; it holds the settings.
const serverVariable = "ONLYONCE_STACK_SERVER"

// line is what a server process says on its standard output.
type line struct {
	Address string `json:",omitempty"`
	Event   *event `json:",omitempty"`
}

// listening says where a process can be reached.
func listening(listener net.Listener) {
	_ = json.NewEncoder(os.Stdout).Encode(line{Address: listener.Addr().String()})
}

// word is closed when the test has given the word to begin. Without the test the process ends.
func word() <-chan struct{} {
	given := make(chan struct{})
	go func() {
		if n, _ := os.Stdin.Read(make([]byte, 1)); n == 1 {
			close(given)
			_, _ = io.Copy(io.Discard, os.Stdin)
		}
		os.Exit(0)
	}()
	return given
}

// serverProcess serves until it is killed, or until the test that started it is gone.
func serverProcess(encoded string) int {
	word()
	if err := serveProcess(encoded); err != nil {
		fmt.Fprintln(os.Stderr, "server process:", err)
		return 1
	}
	return 0
}

func serveProcess(encoded string) error {
	var with settings
	if err := json.Unmarshal([]byte(encoded), &with); err != nil {
		return err
	}
	pool, err := with.pool(context.Background())
	if err != nil {
		return err
	}
	var mu sync.Mutex
	out := json.NewEncoder(os.Stdout)
	told := newEvents()
	say := func(l line) {
		mu.Lock()
		defer mu.Unlock()
		_ = out.Encode(l)
	}
	told.heard = func(e event) { say(line{Event: &e}) }
	engine, err := with.engine(pool, told.observe)
	if err != nil {
		return err
	}
	handler, err := with.routes(engine)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	say(line{Address: listener.Addr().String()})
	return http.Serve(listener, handler)
}

// process is a running server process.
type process struct {
	*server
	cmd   *exec.Cmd
	stdin io.Writer
	ended chan struct{}
}

// startProcess runs a server in a process of its own, which ends with the test.
func startProcess(t *testing.T, with settings) *process {
	t.Helper()
	return launch(t, serverVariable, with, os.Stderr)
}

// launch runs what the variable makes of this test binary, until it says where it listens.
func launch(t *testing.T, variable string, with any, stderr io.Writer) *process {
	t.Helper()
	encoded, err := json.Marshal(with)
	require.NoError(t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), variable+"="+string(encoded))
	cmd.Stderr = stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, begin(cmd))

	p := &process{server: &server{events: newEvents()}, cmd: cmd, stdin: stdin, ended: make(chan struct{})}
	address := make(chan string, 1)
	go func() {
		defer close(p.ended)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			var said line
			if err := json.Unmarshal(lines.Bytes(), &said); err != nil {
				continue
			}
			if said.Address != "" {
				address <- said.Address
			}
			if said.Event != nil {
				p.events.add(*said.Event)
			}
		}
		_ = cmd.Wait() // killed, for the most part
		children.Delete(cmd.Process)
	}()
	t.Cleanup(func() {
		_ = stdin.Close()
		p.kill()
	})
	select {
	case a := <-address:
		p.url = "http://" + a
	case <-p.ended:
		t.Fatal("the server process ended before it served")
	case <-deadline(t).Done():
		t.Fatal("the server process does not serve")
	}
	return p
}

// kill sends SIGKILL and returns when the process has ended. A second call does nothing.
func (p *process) kill() {
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	<-p.ended
}

// tell gives the process the word to begin.
func (p *process) tell(t *testing.T) {
	t.Helper()
	_, err := p.stdin.Write([]byte{'\n'})
	require.NoError(t, err)
}

// signal sends any other signal.
func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(s))
}

// children are the processes that run: a stopped one does not notice that its test is gone, so it is killed.
var children sync.Map

// begin starts a process, unless the tests are being interrupted.
func begin(cmd *exec.Cmd) error {
	starting.RLock()
	defer starting.RUnlock()
	if err := cmd.Start(); err != nil {
		return err
	}
	children.Store(cmd.Process, nil)
	return nil
}

var starting sync.RWMutex

// killChildren ends all processes and lets no other begin.
func killChildren() {
	starting.Lock()
	children.Range(func(p, _ any) bool {
		_ = p.(*os.Process).Signal(syscall.SIGKILL)
		return true
	})
}

// awaitStopped waits until SIGSTOP has taken hold of every thread, where the system tells.
func (p *process) awaitStopped(t *testing.T) {
	t.Helper()
	tasks := fmt.Sprintf("/proc/%d/task", p.cmd.Process.Pid)
	if _, err := os.Stat(tasks); err != nil {
		return
	}
	eventually(t, "the process stands still", func() (bool, error) {
		all, err := filepath.Glob(tasks + "/*/stat")
		for _, file := range all {
			stat, err := os.ReadFile(file)
			if err != nil {
				return false, nil // a thread that has ended
			}
			_, state, _ := strings.Cut(string(stat), ") ")
			if !strings.HasPrefix(state, "T") {
				return false, nil
			}
		}
		return len(all) > 0, err
	})
}
