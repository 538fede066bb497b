// Package redisserver starts a throw-away redis-server from the program that a machine has, on a free port and in a folder of its own, and
// takes both away again.
package redisserver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/onlyonce/onlyonce/internal/child"
	"github.com/onlyonce/onlyonce/internal/freeport"
)

// ErrNoProgram says that there is no redis-server on this machine.
var ErrNoProgram = errors.New("no redis-server on this machine: install redis")

// Server is a running server.
type Server struct {
	// Address is its host and port.
	Address string

	program   string
	arguments []string
	folder    string
	cmd       *exec.Cmd
	ended     chan struct{} // closed when cmd has
}

// Start starts a server with these further arguments, as redis-server takes them, and waits until it answers. Without any it keeps nothing on
// disk. The caller stops it; on Linux it also ends with this process, however that ends.
func Start(ctx context.Context, arguments ...string) (*Server, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, ErrNoProgram
	}
	folder, err := os.MkdirTemp("", "onlyonce-redis")
	if err != nil {
		return nil, err
	}
	for tries := 0; ; tries++ {
		var port int
		if port, err = freeport.Find(busDistance); err != nil {
			break
		}
		s := &Server{
			Address: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), program: program, folder: folder,
			arguments: append([]string{
				"--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", folder, "--logfile", filepath.Join(folder, "log"),
				"--save", "", "--daemonize", "no", "--loglevel", "warning",
			}, arguments...),
		}
		if err = s.Restart(ctx); err == nil {
			return s, nil
		}
		if tries == 4 || !strings.Contains(err.Error(), "in use") { // another one took the port in between
			break
		}
	}
	return nil, errors.Join(err, os.RemoveAll(folder))
}

// Restart starts a server that was killed again: at the same address, with what it finds in its folder.
func (s *Server) Restart(ctx context.Context) error {
	s.cmd, s.ended = exec.Command(s.program, s.arguments...), make(chan struct{})
	child.Own(s.cmd)
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", s.program, err)
	}
	go func(cmd *exec.Cmd, ended chan struct{}) {
		defer close(ended)
		_ = cmd.Wait()
	}(s.cmd, s.ended)
	if err := s.await(ctx); err != nil {
		_ = s.Kill()
		log, _ := os.ReadFile(filepath.Join(s.folder, "log"))
		return fmt.Errorf("start %s: %w; its log ends with: %s", s.program, err, log[max(0, len(log)-500):])
	}
	return nil
}

// await waits until the server answers.
func (s *Server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		err := ping(s.Address, s.cmd.Process.Pid)
		if err == nil {
			return nil
		}
		select {
		case <-s.ended:
			return errors.Join(errors.New("it ended at once"), err)
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// ping asks whether the server is there and has read its data. Another one may have taken the port in between, and would answer for it.
func ping(address string, pid int) error {
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := conn.Write([]byte("INFO\r\n")); err != nil { // which is answered while the server loads, and says so
		return err
	}
	for in := bufio.NewReader(conn); ; {
		line, err := in.ReadString('\n')
		line = strings.TrimSpace(line)
		switch found, isPID := strings.CutPrefix(line, "process_id:"); {
		case err != nil:
			return err
		case strings.HasPrefix(line, "-"):
			return nil // it wants a password
		case isPID && found != strconv.Itoa(pid):
			return errors.New("another server has the port, which is in use")
		case line == "loading:1":
			return errors.New("the server is still loading")
		case line == "loading:0": // which comes after the process
			return nil
		}
	}
}

// PID is the server's process.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Kill ends the server as a crash would, and keeps its folder.
func (s *Server) Kill() error {
	err := s.cmd.Process.Kill()
	<-s.ended
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// Stop ends the server and removes its folder.
func (s *Server) Stop() error { return errors.Join(s.Kill(), os.RemoveAll(s.folder)) }

// busDistance is how far a cluster node's second port is from its first.
const busDistance = 10_000
