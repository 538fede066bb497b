package torture

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/onlyonce/onlyonce/internal/wireproxy"

	"github.com/onlyonce/onlyonce/integration/history"
	"github.com/onlyonce/onlyonce/integration/torture/protocol"
)

// patience bounds what should not take long.
const patience = 30 * time.Second

// world is all that there is in a run.
type world struct {
	config   Config
	began    time.Time
	folder   string
	database *base
	servers  []*server
	provider *provider
	payments *http.Server // the provider's
	keys     *window
	standing slots // servers that stand still

	mu         sync.Mutex
	attempts   []history.Attempt
	executions []history.Execution
	running    map[string]int // executions that were not heard to return, by nonce
	fired      map[string]int
	missed     map[string]int // strikes that hit nothing
	states     map[string]int // SQLSTATEs
	readBacks  [2]int         // did not happen, did
	complaints []string
	log        *history.Log
}

func (w *world) now() time.Duration { return time.Since(w.began) }

// open starts everything.
func (w *world) open(ctx context.Context) (err error) {
	w.database, err = openBase(ctx, w.config)
	if err != nil {
		return err
	}
	through, err := w.database.forServers()
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("torture: listen on loopback: %w", err)
	}
	w.provider.reliable.Store(w.config.calm())
	w.payments = &http.Server{Handler: w.provider, ReadHeaderTimeout: patience}
	go func() { _ = w.payments.Serve(listener) }() // until it is closed
	for n := range w.config.Servers {
		proxy, err := wireproxy.Listen(w.database.url, wireproxy.Config{})
		if err != nil {
			return err
		}
		s := &server{world: w, number: n, proxy: proxy}
		w.servers = append(w.servers, s)
		url, err := proxy.URL(through)
		if err != nil {
			return err
		}
		wait := time.Duration(0)
		if n%3 == 1 { // one of them has duplicates wait
			wait = 500 * time.Millisecond
		}
		s.flags = append([]string{
			"-database", url, "-schema", w.database.schema, "-provider", "http://" + listener.Addr().String(),
			"-lease", w.config.Lease.String(), "-idle", w.config.Lease.String(), "-wait", wait.String(),
		}, w.config.ServerFlags...)
		s.mu.Lock()
		err = s.launch(ctx)
		s.mu.Unlock()
		if err != nil {
			return fmt.Errorf("torture: %w%s", err, said(s.log()))
		}
	}
	return nil
}

// said is the end of a server's log.
func said(file string) string {
	content, err := os.ReadFile(file)
	if err != nil || len(content) == 0 {
		return ""
	}
	return "\n" + string(content[max(0, len(content)-2000):])
}

// close ends everything that is left.
func (w *world) close() error {
	var all sync.WaitGroup
	for _, s := range w.servers {
		all.Go(func() { s.leave(0) })
	}
	all.Wait()
	for _, s := range w.servers {
		_ = s.proxy.Close()
	}
	if w.payments != nil {
		_ = w.payments.Close()
	}
	if w.database == nil {
		return nil
	}
	return w.database.close()
}

// hear takes note of what a server says.
func (w *world) hear(server int, said protocol.Said) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case said.Begun != nil:
		w.running[said.Begun.Nonce] = len(w.executions)
		w.executions = append(w.executions, history.Execution{
			Nonce: said.Begun.Nonce, Key: said.Begun.Key, Attempt: said.Begun.Attempt, Completer: said.Begun.Completer, Server: server, Start: w.now(),
		})
	case said.Ended != "":
		if at, known := w.running[said.Ended]; known {
			w.executions[at].End = w.now()
			delete(w.running, said.Ended)
		}
	case said.SQLState != "":
		w.states[said.SQLState]++
	case said.ReadBack != nil:
		w.readBacks[map[bool]int{false: 0, true: 1}[said.ReadBack.Happened]]++
	}
}

func (w *world) sqlStates(code string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.states[code]
}

// attempted takes note of a client's attempt.
func (w *world) attempted(a history.Attempt) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.attempts = append(w.attempts, a)
	w.log.Attempt(a)
}

// struck counts a fault that has really come to something, or one that has not.
func (w *world) struck(name string, really bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if really {
		w.fired[name]++
	} else {
		w.missed[name]++
	}
}

// complain notes what should not happen to the torture itself, or to a server that nobody has touched.
func (w *world) complain(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.complaints = append(w.complaints, strings.TrimSpace(fmt.Sprintf(format, args...)))
}

// slots counts who does something that not all may do at once.
type slots struct {
	mu    sync.Mutex
	taken int
}

func (s *slots) take(most int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken >= most {
		return false
	}
	s.taken++
	return true
}

func (s *slots) give() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken--
}

// pause waits, unless ctx ends.
func pause(ctx context.Context, length time.Duration) {
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
