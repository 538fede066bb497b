package httpcontract

import (
	"io"
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
	client *http.Client
}

// Client returns the server's client.
func (s *server) Client() *http.Client { return s.client }

// serve starts a server. Its client sends a request once and no more: no connection is used again, since Go's client repeats
// a request with an idempotency key by itself where a used connection breaks, and it follows no redirect.
func (w *world) serve(handler http.Handler, configure ...func(*httptest.Server)) *server {
	w.Helper()
	s := &server{world: w, Server: httptest.NewUnstartedServer(handler), client: &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		Timeout:       patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	for _, change := range configure {
		change(s.Server)
	}
	if w.adapter.Listen == nil {
		s.Start()
		w.Cleanup(s.Close)
		return s
	}
	if route, ok := handler.(*route); ok {
		handler = route.Handler // as Mount has returned it
	}
	s.URL = "http://" + s.Listener.Addr().String()
	w.Cleanup(w.adapter.Listen(s.Listener, handler, s.Config.ReadTimeout))
	return s
}

// in returns the server, reporting to w's test.
func (s *server) in(w *world) *server { return &server{w, s.Server, s.client} }

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
