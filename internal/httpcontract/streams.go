package httpcontract

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var streamTests = []test{
	{"duplicates on the streams of one connection are one execution", duplicatesOnStreamsAreOneExecution},
	{"a stream that is reset while the handler runs is finished", aStreamThatIsResetIsFinished},
	{"a stream that is reset before its body is there runs nothing", aStreamThatIsResetBeforeItsBodyRunsNothing},
	{"trailers come by HTTP/2 too", trailersComeByHTTP2},
	{"what belongs to a connection is in no replay, by whatever protocol", whatBelongsToAConnectionIsInNoReplay},
}

// serve2 starts a server whose client sends all requests by HTTP/2 on one connection; conns counts them.
func (w *world) serve2(handler http.Handler) (s *server, conns *atomic.Int64) {
	w.Helper()
	w.needs(HTTP2)
	s, conns = &server{world: w, Server: httptest.NewUnstartedServer(handler)}, new(atomic.Int64)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	s.EnableHTTP2 = true
	s.StartTLS()
	w.Cleanup(s.Close)
	s.client = s.Server.Client()
	s.client.Timeout = patience
	return s, conns
}

func duplicatesOnStreamsAreOneExecution(w *world) {
	const streams = 50
	inside, release := make(chan struct{}), make(chan struct{})
	pays := w.answers(http.StatusCreated)
	route := w.route(func(writer http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Idempotency-Key") == "k" {
			close(inside)
			<-release
		}
		pays(writer, r)
	}, waiting)
	s, conns := w.serve2(route)
	answers := make(chan answer, streams)
	ask := func() {
		response, err := s.Client().Do(s.request("k", strings.NewReader("{}")))
		if assert.NoError(w, err) {
			assert.Equal(w, 2, response.ProtoMajor)
			answers <- read(w, response)
		}
	}
	go ask()
	within(w, inside)
	for range streams - 1 {
		go ask()
	}
	s.post("another-key", "{}").is(http.StatusCreated, "payment 1\x00\xff") // not held up by the others
	close(release)
	fresh := 0
	for range streams {
		got := within(w, answers)
		require.Equal(w, http.StatusCreated, got.status, got.body)
		require.Equal(w, "payment 2\x00\xff", got.body)
		if len(got.header.Values("Idempotent-Replayed")) == 0 {
			fresh++
		}
	}
	require.Equal(w, 1, fresh)
	require.EqualValues(w, 1, conns.Load())
	route.ran(2)
	w.hasEffects(2)
}

func aStreamThatIsResetIsFinished(w *world) {
	begun, noticed := make(chan struct{}), make(chan struct{})
	inside := new(visits)
	answers := w.answers(http.StatusCreated)
	route := w.route(func(writer http.ResponseWriter, r *http.Request) {
		close(begun)
		<-noticed
		assert.NoError(w, r.Context().Err(), "the work ended with the client")
		answers(writer, r)
	})
	var calls atomic.Int64
	s, conns := w.serve2(inside.count(http.HandlerFunc(func(writer http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 1 {
			context.AfterFunc(r.Context(), func() { close(noticed) })
		}
		route.ServeHTTP(writer, r)
	})))
	ctx, leave := context.WithCancel(w.Context())
	gone := make(chan error, 1)
	go func() {
		response, err := s.Client().Do(s.request("k", strings.NewReader("{}")).WithContext(ctx))
		if err == nil {
			_ = response.Body.Close()
		}
		gone <- err
	}()
	within(w, begun)
	leave() // by RST_STREAM: the connection stays
	require.ErrorIs(w, within(w, gone), context.Canceled)
	w.leavesNothingBehind(inside)
	got := s.post("k", "{}")
	require.Equal(w, "true", got.header.Get("Idempotent-Replayed"))
	require.Equal(w, "payment 1\x00\xff", got.body)
	require.EqualValues(w, 1, conns.Load())
	route.ran(1)
	w.hasEffects(1)
}

func aStreamThatIsResetBeforeItsBodyRunsNothing(w *world) {
	var asked atomic.Int64
	told, inside := make(chan struct{}), new(visits)
	route := w.asked(&asked).route(w.pays(http.StatusCreated))
	s, conns := w.serve2(inside.count(awaiting(route, 8, told)))
	ctx, leave := context.WithCancel(w.Context())
	body, more := io.Pipe()
	gone := make(chan error, 1)
	go func() {
		response, err := s.Client().Do(s.request("k", body).WithContext(ctx))
		if err == nil {
			_ = response.Body.Close()
		}
		gone <- err
	}()
	_, err := io.WriteString(more, `{"amount`)
	require.NoError(w, err)
	within(w, told)
	leave()
	require.Error(w, within(w, gone))
	w.leavesNothingBehind(inside)
	require.Zero(w, asked.Load())
	route.ran(0)
	w.hasRecords(0)
	s.post("k", "{}").is(http.StatusCreated, `{"status":"answered"}`)
	require.EqualValues(w, 1, conns.Load())
}

func trailersComeByHTTP2(w *world) {
	route := w.route(echoes)
	s, _ := w.serve2(route)
	ask := func(trailer string) answer {
		request := s.request("k", io.MultiReader(strings.NewReader("{}")))
		request.Trailer = http.Header{"Checksum": {trailer}}
		return s.send(request)
	}
	first := ask("abc")
	first.is(http.StatusCreated, "2 [] abc {}")
	ask("xyz").replays(first)
	s.post("k", "{}").replays(first)
	w.serve(route).talk(framed("k", chunked("{}", 1, ""), inChunks)).replays(first)
	route.ran(1)
}

func whatBelongsToAConnectionIsInNoReplay(w *world) {
	route := w.route(func(writer http.ResponseWriter, _ *http.Request) {
		for _, name := range []string{"Connection", "Keep-Alive", "Proxy-Connection", "Upgrade", "TE", "Trailer"} {
			writer.Header().Set(name, "x-hop")
		}
		writer.Header().Set("X-Hop", "1")
		_, _ = io.WriteString(writer, "paid")
	})
	one, two := w.serve(route), (*server)(nil)
	two, _ = w.serve2(route)
	for _, from := range []*server{one, two} {
		key := w.key()
		first := from.post(key, "{}")
		first.is(http.StatusOK, "paid")
		for _, to := range []*server{one, two} {
			again := to.post(key, "{}")
			again.replays(first)
			for _, name := range []string{"Keep-Alive", "Proxy-Connection", "Upgrade", "Te", "Trailer", "X-Hop", "Transfer-Encoding"} {
				require.Empty(w, again.header.Values(name), name)
			}
			require.NotContains(w, again.header.Values("Connection"), "x-hop")
			require.Equal(w, []string{"4"}, again.header.Values("Content-Length"))
		}
	}
	route.ran(2)
}
