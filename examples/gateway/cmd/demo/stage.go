package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/onlyonce/onlyonce/examples/gateway"
)

// patience bounds how long the demo waits for a process to begin.
const patience = 30 * time.Second

var tempers = []string{"steady", "moody", "rotten"}

// stage are the services and proxies, each in a process of its own.
type stage struct {
	folder, proxy, upstream, database string

	mu        sync.Mutex
	closed    bool
	upstreams map[string]*process
	proxies   []*process
}

// process is a program that runs, and where it serves.
type process struct {
	cmd   *exec.Cmd
	url   string
	ended chan struct{}
}

func open(ctx context.Context, proxy, upstream, database string) (*stage, error) {
	folder, err := os.MkdirTemp("", "onlyonce-demo")
	if err != nil {
		return nil, err
	}
	s := &stage{folder: folder, proxy: proxy, upstream: upstream, database: database, upstreams: map[string]*process{}}
	if err := s.begin(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *stage) begin(ctx context.Context) error {
	for _, temper := range tempers {
		if err := s.startUpstream(ctx, temper, "127.0.0.1:0"); err != nil {
			return err
		}
	}
	migrate, err := s.configured(0)
	if err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, s.proxy, "-config", migrate, "-migrate").CombinedOutput(); err != nil {
		return fmt.Errorf("%s -migrate: %w: %s", s.proxy, err, out)
	}
	for n := range 2 {
		if err := s.startProxy(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// startUpstream starts a service, and again whenever it dies.
func (s *stage) startUpstream(ctx context.Context, temper, listen string) error {
	cmd := exec.Command(s.upstream, "-listen", listen, "-temper", temper, "-ledger", filepath.Join(s.folder, temper))
	p, err := s.start(ctx, cmd, cmd.StdoutPipe, func(line string) string {
		_, url, _ := strings.Cut(line, " on ")
		return url
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.upstreams[temper] = p
	s.mu.Unlock()
	go func() {
		<-p.ended
		for !s.isClosed() {
			err := s.startUpstream(context.WithoutCancel(ctx), temper, strings.TrimPrefix(p.url, "http://"))
			if err == nil {
				return
			}
			fmt.Fprintln(os.Stderr, "demo: the service does not come back yet:", err)
			time.Sleep(200 * time.Millisecond) // its port may be somebody's for a moment
		}
	}()
	return nil
}

// configured writes the configuration of the n-th proxy.
func (s *stage) configured(n int) (file string, err error) {
	config := gateway.ProxyConfig
	for _, temper := range tempers {
		config = strings.ReplaceAll(config, "${"+strings.ToUpper(temper)+"}", s.upstreams[temper].url)
	}
	config = strings.NewReplacer("127.0.0.1:8080", "127.0.0.1:0", "127.0.0.1:8081", "127.0.0.1:0").Replace(config)
	file = filepath.Join(s.folder, fmt.Sprintf("proxy-%d.yaml", n))
	return file, os.WriteFile(file, []byte(config), 0o600)
}

func (s *stage) startProxy(ctx context.Context, n int) error {
	file, err := s.configured(n)
	if err != nil {
		return err
	}
	cmd := exec.Command(s.proxy, "-config", file)
	cmd.Env = append(os.Environ(), "DATABASE_URL="+s.database)
	p, err := s.start(ctx, cmd, cmd.StderrPipe, func(text string) string {
		var line struct{ Msg, Server, Address, Error string }
		if json.Unmarshal([]byte(text), &line) == nil && line.Msg == "serving" && line.Server == "clients" {
			return "http://" + line.Address
		}
		return ""
	})
	if err != nil {
		return err
	}
	s.proxies = append(s.proxies, p)
	return nil
}

// start starts a program, and waits until a line that it says tells where it serves.
func (s *stage) start(ctx context.Context, cmd *exec.Cmd, output func() (io.ReadCloser, error), address func(line string) string) (*process, error) {
	says, err := output()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, ended: make(chan struct{})}
	found, last := make(chan string, 1), ""
	go func() {
		defer close(p.ended)
		for lines := bufio.NewScanner(says); lines.Scan(); {
			last = lines.Text()
			if url := address(last); url != "" && cap(found) > len(found) {
				found <- url
			}
		}
		_ = cmd.Wait() // killed, for the most part
	}()
	select {
	case p.url = <-found:
		return p, nil
	case <-p.ended:
		return nil, fmt.Errorf("%s has ended: %s", filepath.Base(cmd.Path), last)
	case <-time.After(patience):
		err = errors.New("it does not say where it serves")
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	p.kill()
	return nil, fmt.Errorf("%s: %w", filepath.Base(cmd.Path), err)
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

func (s *stage) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// close ends all processes and removes what they have written.
func (s *stage) close() {
	s.mu.Lock()
	s.closed = true
	running := s.proxies
	for _, p := range s.upstreams {
		running = append(running, p)
	}
	s.mu.Unlock()
	for _, p := range running {
		p.kill()
	}
	_ = os.RemoveAll(s.folder)
}
