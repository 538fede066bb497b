package httpcontract

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
)

// patience bounds what must happen soon, so that a test that fails does not hang.
const patience = 20 * time.Second

// server is a route behind real sockets.
type server struct {
	*world
	*httptest.Server
}

// serve starts a server. Its client sends a request once and no more: no connection is used again, since Go's client repeats
// a request with an idempotency key by itself where a used connection breaks, and it follows no redirect.
func (w *world) serve(handler http.Handler) *server {
	w.Helper()
	s := &server{w, httptest.NewUnstartedServer(handler)}
	s.Start()
	w.Cleanup(s.Close)
	s.Client().Transport.(*http.Transport).DisableKeepAlives = true
	s.Client().Timeout = patience
	s.Client().CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return s
}

// request returns a POST of body with key, chunked if the body's length cannot be told.
func (s *server) request(key string, body io.Reader) *http.Request {
	s.Helper()
	request, err := http.NewRequestWithContext(s.Context(), http.MethodPost, s.URL+"/payments", body)
	require.NoError(s, err)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Idempotency-Key", key)
	return request
}

func (s *server) send(request *http.Request) answer {
	s.Helper()
	response, err := s.Client().Do(request)
	require.NoError(s, err)
	return read(s, response)
}

func (s *server) post(key, body string) answer {
	s.Helper()
	return s.send(s.request(key, strings.NewReader(body)))
}

// wire is a connection on which a test writes HTTP by hand.
type wire struct {
	*world
	*net.TCPConn
	in *bufio.Reader
}

func (s *server) dial() *wire {
	s.Helper()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	require.NoError(s, err)
	s.Cleanup(func() { _ = conn.Close() })
	require.NoError(s, conn.SetDeadline(time.Now().Add(patience)))
	return &wire{s.world, conn.(*net.TCPConn), bufio.NewReader(conn)}
}

// write sends lines, each ended as HTTP does, and then rest as it is.
func (c *wire) write(lines []string, rest string) {
	c.Helper()
	_, err := io.WriteString(c.TCPConn, strings.Join(lines, "\r\n")+"\r\n\r\n"+rest)
	require.NoError(c, err)
}

func (c *wire) answer() answer {
	c.Helper()
	response, err := http.ReadResponse(c.in, nil)
	require.NoError(c, err)
	return read(c, response)
}

// within waits for what must happen soon.
func within[T any](w *world, c <-chan T) (got T) {
	w.Helper()
	select {
	case got = <-c:
	case <-time.After(patience):
		require.FailNow(w, "nothing happened")
	}
	return got
}
