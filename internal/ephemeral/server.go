package ephemeral

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

var (
	errPortTaken = errors.New("the port is taken")
	// Backends of a killed server hold its shared memory until they have noticed.
	errStillHeld = errors.New("the data folder is still held by an earlier server")
)

// server is one run of the postgres program.
type server struct {
	cmd    *exec.Cmd
	log    string
	exited chan struct{}
	// exitErr is set before exited is closed.
	exitErr error
}

func (s *server) pid() int { return s.cmd.Process.Pid }

func (s *server) hasExited() bool {
	select {
	case <-s.exited:
		return true
	default:
		return false
	}
}

// begin starts the server unless it runs, and waits until it accepts connections. The caller holds c.mu.
func (c *Cluster) begin(ctx context.Context) error {
	if c.stopped {
		return errors.New("start the cluster again: it was stopped and its data removed: use ephemeral.Start")
	}
	if c.server != nil && !c.server.hasExited() {
		return nil
	}
	for {
		err := c.launch(ctx)
		if !errors.Is(err, errStillHeld) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (c *Cluster) launch(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("start postgres: %w", err)
	}
	log, err := os.Create(filepath.Join(c.folder, "server.log"))
	if err != nil {
		return fmt.Errorf("start postgres: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(filepath.Join(c.binDir, "postgres"), "-D", c.DataDir(), "-p", strconv.Itoa(c.port))
	c.prepare(cmd)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start postgres: %w", err)
	}
	s := &server{cmd: cmd, log: log.Name(), exited: make(chan struct{})}
	go func() {
		s.exitErr = cmd.Wait()
		close(s.exited)
	}()
	c.server = s
	if err := c.guard.watch(s.pid()); err != nil {
		return errors.Join(err, c.end(context.WithoutCancel(ctx), syscall.SIGKILL))
	}
	if err := c.awaitReady(ctx, s); err != nil {
		return errors.Join(err, c.end(context.WithoutCancel(ctx), syscall.SIGQUIT))
	}
	return nil
}

// answers are the states in which a server accepts connections; standby is that of one in recovery, which is read only.
var answers = map[string]bool{"ready": true, "standby": true}

// awaitReady watches the server's lock file, as pg_ctl does: it says when the server is ready, and unlike a connection
// it cannot be somebody else's who listens on the same port.
func (c *Cluster) awaitReady(ctx context.Context, s *server) error {
	lock := filepath.Join(c.DataDir(), "postmaster.pid")
	for {
		if content, err := os.ReadFile(lock); err == nil {
			lines := strings.Split(string(content), "\n")
			if len(lines) > 7 && lines[0] == strconv.Itoa(s.pid()) && answers[strings.TrimSpace(lines[7])] {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for postgres to accept connections: %w\n%s", ctx.Err(), s.output())
		case <-s.exited:
			return s.failure()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (s *server) output() string {
	content, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	return string(content)
}

func (s *server) failure() error {
	output := s.output()
	reason := errors.New("postgres ended before it accepted connections")
	switch {
	case strings.Contains(output, "Address already in use"), strings.Contains(output, "could not create any TCP/IP sockets"):
		reason = errPortTaken
	case strings.Contains(output, "pre-existing shared memory block"), strings.Contains(output, "is another postmaster"):
		reason = errStillHeld
	}
	return fmt.Errorf("start postgres: %w (%v)\n%s", reason, s.exitErr, output)
}

// end signals the server and waits for the end of its process. The caller holds c.mu.
func (c *Cluster) end(ctx context.Context, signal syscall.Signal) error {
	s := c.server
	if s == nil {
		return nil
	}
	if err := s.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop postgres with %s: %w", signal, err)
	}
	select {
	case <-ctx.Done():
		return fmt.Errorf("stop postgres with %s: still running: %w", signal, ctx.Err())
	case <-s.exited:
	}
	if c.stopped {
		return nil
	}
	// The process id is free for others from here on.
	return c.guard.watch(0)
}
