package gateway

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// fate is what becomes of a request upstream.
type fate string

const (
	answers     fate = "answers"                          // does it, and answers 201
	declines    fate = "answers no"                       // does nothing, and answers 402
	fails       fate = "500 before it did it"             // does nothing, and answers 500
	failsAfter  fate = "500 after it did it"              // does it, and answers 500
	refuses     fate = "refuses the connection"           // is not there
	closes      fate = "closes before it did it"          // closes the connection, and has done nothing
	closesAfter fate = "closes after it did it"           // does it, and closes the connection
	cuts        fate = "cuts its answer short"            // does it, and sends half of its answer
	stalls      fate = "stalls in the middle"             // does it, and sends half of its answer, and then nothing
	hangs       fate = "does it, and does not answer"     // does it, and sends nothing
	hangsBefore fate = "does nothing and does not answer" // does nothing, and sends nothing
)

// order is what the upstream is asked to do.
type order struct{ Reference string }

// upstream is a service that knows nothing of idempotency. It speaks HTTP by hand, so that it can break off anywhere.
type upstream struct {
	t        *testing.T
	listener net.Listener
	closed   chan struct{}
	fate     func(reference string, call int) fate
	serving  sync.WaitGroup

	mu sync.Mutex
	// came is closed by the next request, where it is not nil, before anything is done; that goes on when letGo is closed.
	came, letGo chan struct{}
	calls       map[string]int
	done        map[string]int
}

// startUpstream starts one that gives the n-th call with a reference, from 1, this fate.
func startUpstream(t *testing.T, of func(reference string, call int) fate) *upstream {
	t.Helper()
	// Where there is a second address, nobody else's connection takes its ports while it is closed.
	listener, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		listener, err = net.Listen("tcp", "127.0.0.1:0")
	}
	require.NoError(t, err)
	u := &upstream{t: t, listener: listener, closed: make(chan struct{}), fate: of, calls: map[string]int{}, done: map[string]int{}}
	u.accept()
	t.Cleanup(func() {
		close(u.closed)
		u.close()
		u.serving.Wait()
	})
	return u
}

func (u *upstream) accept() {
	listener := u.listener
	u.serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			u.serving.Go(func() {
				defer conn.Close()
				u.serve(conn)
			})
		}
	})
}

// close has connections refused, until open.
func (u *upstream) close() { _ = u.listener.Close() }

func (u *upstream) open() {
	listener, err := net.Listen("tcp", u.address())
	require.NoError(u.t, err)
	u.listener = listener
	u.accept()
}

// hold has the next request wait before anything is done. came is closed when it is there.
func (u *upstream) hold() (came <-chan struct{}, letGo func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.came, u.letGo = make(chan struct{}), make(chan struct{})
	hold := u.letGo
	return u.came, func() { close(hold) }
}

func (u *upstream) address() string { return u.listener.Addr().String() }

// did returns how often the order of this reference was done, and of how many calls the upstream has heard.
func (u *upstream) did(reference string) (done, calls int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.done[reference], u.calls[reference]
}

// serve serves one request.
func (u *upstream) serve(conn net.Conn) {
	gone := make(chan struct{})
	request, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	body, err := io.ReadAll(request.Body)
	var asked order
	if err != nil || json.Unmarshal(body, &asked) != nil {
		return
	}
	go func() { // whoever asks says no more than it has said
		defer close(gone)
		_, _ = conn.Read(make([]byte, 1))
	}()
	u.mu.Lock()
	came, letGo := u.came, u.letGo
	u.came, u.letGo = nil, nil
	u.mu.Unlock()
	if came != nil {
		close(came)
		select {
		case <-letGo:
		case <-u.closed:
			return
		}
	}
	u.mu.Lock()
	u.calls[asked.Reference]++
	fate := u.fate(asked.Reference, u.calls[asked.Reference])
	switch fate {
	case answers, failsAfter, closesAfter, cuts, stalls, hangs:
		u.done[asked.Reference]++
	}
	u.mu.Unlock()

	whole := fmt.Sprintf(`{"reference":%q}`, asked.Reference)
	head := func(status string) string {
		return fmt.Sprintf("HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", status, len(whole))
	}
	switch fate {
	case answers:
		_, _ = io.WriteString(conn, head("201 Created")+whole)
	case declines:
		_, _ = io.WriteString(conn, head("402 Payment Required")+whole)
	case fails, failsAfter:
		_, _ = io.WriteString(conn, head("500 Internal Server Error")+whole)
	case cuts:
		_, _ = io.WriteString(conn, head("201 Created")+whole[:5])
	case stalls:
		_, _ = io.WriteString(conn, head("201 Created")+whole[:5])
		u.waitFor(gone)
	case hangs, hangsBefore:
		u.waitFor(gone)
	}
}

// waitFor waits until whoever asked has given up.
func (u *upstream) waitFor(gone chan struct{}) {
	select {
	case <-gone:
	case <-u.closed:
	}
}
