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

// serverProcess serves until it is killed, or until the test that started it is gone.
func serverProcess(encoded string) int {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
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
	handler, err := routes(engine)
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
	ended chan struct{}
}

// startProcess runs a server in a process of its own, which ends with the test.
func startProcess(t *testing.T, with settings) *process {
	t.Helper()
	encoded, err := json.Marshal(with)
	require.NoError(t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serverVariable+"="+string(encoded))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())

	p := &process{server: &server{events: newEvents()}, cmd: cmd, ended: make(chan struct{})}
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

// signal sends any other signal.
func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(s))
}
