package torture

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/onlyonce/onlyonce/internal/wireproxy"

	"github.com/onlyonce/onlyonce/integration/torture/protocol"
)

// server is a place in which one process after the other serves, always through the same proxy.
type server struct {
	world  *world
	number int
	flags  []string
	proxy  *wireproxy.Proxy

	mu      sync.Mutex
	process *process // the last one that was started
	closing bool     // no further one is
}

// process is a running server.
type process struct {
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	address string
	ended   chan struct{}
	clock   chan protocol.Clock
	// expected says that it is ended by us. frozen, that it stands still. Both guarded by server.mu.
	expected, frozen bool
}

// launch starts a process and returns when it listens. The caller holds mu.
func (s *server) launch(ctx context.Context) error {
	if s.closing {
		return context.Canceled
	}
	cmd := exec.Command(s.world.config.Server, s.flags...)
	// In a group of its own, so that a Ctrl-C of ours does not reach it. And, if we are killed, the group has nobody left who cares
	// for it, and the system wakes those in it that were stopped, and hangs up on them.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	log, err := os.OpenFile(s.log(), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stderr = log
	p := &process{cmd: cmd, ended: make(chan struct{}), clock: make(chan protocol.Clock, 1)}
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the server: %w", err)
	}
	address := make(chan string, 1)
	go s.listen(p, stdout, address)
	select {
	case p.address = <-address:
		s.process = p
		return nil
	case <-p.ended:
		return fmt.Errorf("server %d ended before it served: see %s", s.number, s.log())
	case <-ctx.Done():
	case <-time.After(patience):
	}
	p.expected = true
	_ = cmd.Process.Kill()
	<-p.ended
	return fmt.Errorf("server %d does not serve: see %s", s.number, s.log())
}

func (s *server) log() string {
	return filepath.Join(s.world.folder, fmt.Sprintf("server-%d.log", s.number))
}

// listen hears what the process says, to its end.
func (s *server) listen(p *process, stdout io.Reader, address chan<- string) {
	defer close(p.ended)
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		var said protocol.Said
		if err := json.Unmarshal(lines.Bytes(), &said); err != nil {
			continue // killed in the middle of a line
		}
		switch {
		case said.Address != "":
			address <- said.Address
		case said.Clock != nil:
			select {
			case <-p.clock: // of somebody who did not wait for it
			default:
			}
			p.clock <- *said.Clock
		default:
			s.world.hear(s.number, said)
		}
	}
	_ = p.cmd.Wait() // killed, for the most part
}

// watch starts another process where one ended that nobody has ended.
func (s *server) watch(ctx context.Context) {
	for {
		s.mu.Lock()
		p := s.process
		s.mu.Unlock()
		select {
		case <-p.ended:
		case <-ctx.Done():
			return
		}
		s.mu.Lock()
		if !p.expected {
			p.expected = true
			s.world.complain("server %d ended by itself (%v): see %s", s.number, p.cmd.ProcessState, s.log())
		}
		if s.process == p {
			if err := s.launch(ctx); err != nil && ctx.Err() == nil && !s.closing {
				s.world.complain("%v", err)
				s.mu.Unlock()
				return
			}
		}
		s.mu.Unlock()
		if ctx.Err() != nil {
			return
		}
	}
}

// where returns the address to send requests to.
func (s *server) where() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process.address
}

// kill sends SIGKILL, and starts another process. It reports whether there was one to kill.
func (s *server) kill(ctx context.Context) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.process
	if p.expected || p.cmd.Process.Kill() != nil {
		return false
	}
	p.expected = true
	<-p.ended
	if err := s.launch(context.WithoutCancel(ctx)); err != nil && !s.closing {
		s.world.complain("%v", err)
	}
	return true
}

// freeze sends SIGSTOP, and returns what sends SIGCONT.
func (s *server) freeze() (thaw func(), stopped bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.process
	if p.expected || p.frozen || p.cmd.Process.Signal(syscall.SIGSTOP) != nil {
		return nil, false
	}
	p.frozen = true
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		p.frozen = false
		_ = p.cmd.Process.Signal(syscall.SIGCONT) // it may have been killed in the meantime
	}, true
}

// setClock moves the wall clock, and reports whether it did.
func (s *server) setClock(ctx context.Context, seconds int64) bool {
	s.mu.Lock()
	p := s.process
	_, err := fmt.Fprintln(p.stdin, protocol.ClockCommand, seconds)
	s.mu.Unlock()
	if err != nil {
		return false
	}
	for {
		select {
		case now := <-p.clock:
			if now.Fixed || now.Seconds == seconds {
				return !now.Fixed
			}
		case <-p.ended:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// leave has the process end in an orderly way, or kills it.
func (s *server) leave(orderly time.Duration) {
	s.mu.Lock()
	s.closing = true
	p := s.process
	if p == nil {
		s.mu.Unlock()
		return
	}
	gone := p.expected
	p.expected = true
	_ = p.stdin.Close()
	_ = p.cmd.Process.Signal(syscall.SIGCONT)
	s.mu.Unlock()
	select {
	case <-p.ended:
		return
	case <-time.After(orderly):
	}
	if !gone && orderly > 0 {
		s.world.complain("server %d did not end within %v after its standard input had closed", s.number, orderly)
	}
	_ = p.cmd.Process.Kill()
	<-p.ended
}
