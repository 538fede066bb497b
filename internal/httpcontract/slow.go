package httpcontract

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

var slowTests = []test{
	{"a body that comes a byte at a time holds nothing", aBodyThatComesSlowlyHoldsNothing},
	{"a body that never comes ends with the server's patience", aBodyThatNeverComesEnds},
	{"an answer that is read slowly holds nothing", anAnswerThatIsReadSlowlyHoldsNothing},
}

// awaited is a body that tells when the server waits for more of it than has come.
type awaited struct {
	io.ReadCloser
	read int
	from int
	told chan struct{}
}

func (a *awaited) Read(b []byte) (int, error) {
	if a.read >= a.from && a.told != nil {
		close(a.told)
		a.told = nil
	}
	n, err := a.ReadCloser.Read(b)
	a.read += n
	return n, err
}

// awaiting tells, of the first request, when the server waits for what is behind the first n bytes of its body.
func awaiting(next http.Handler, n int, told chan struct{}) http.Handler {
	var first atomic.Bool
	return http.HandlerFunc(func(writer http.ResponseWriter, r *http.Request) {
		if first.CompareAndSwap(false, true) {
			r.Body = &awaited{ReadCloser: r.Body, from: n, told: told}
		}
		next.ServeHTTP(writer, r)
	})
}

// asked counts how often a store was asked for anything.
func (w *world) asked(count *atomic.Int64) *world {
	return w.staging(func(string) { count.Add(1) })
}

func aBodyThatComesSlowlyHoldsNothing(w *world) {
	w.needs(LateBodies)
	body := `{"amount":1,"note":"thanks"}`
	for name, tt := range map[string]struct {
		framing string
		pieces  []string
		begun   int // bytes of the body that are there when the server is looked at
	}{
		"with a length": {"Content-Length: 28", strings.Split(body, ""), 14},
		"in chunks":     {inChunks, strings.Split(chunked(body, 1, ""), ""), 2}, // of six bytes each
	} {
		w.each(name, func(w *world) {
			var asked atomic.Int64
			told := make(chan struct{})
			route := w.asked(&asked).route(w.pays(http.StatusCreated))
			server, key := w.serve(awaiting(route, tt.begun, told)), w.key()
			conn := server.dial()
			conn.send(framed(key, "", tt.framing))
			for _, piece := range tt.pieces[:14] {
				conn.send(piece)
			}
			within(w, told)
			require.Zero(w, asked.Load(), "the store was asked before the body was there")
			if w.pool != nil {
				require.Zero(w, w.pool.Stat().AcquiredConns())
			}
			// Somebody else with the same key does not wait for it either.
			first := server.talk(payment(key, body))
			first.is(http.StatusCreated, `{"status":"answered"}`)
			for _, piece := range tt.pieces[14:] {
				conn.send(piece)
			}
			conn.answer().replays(first)
			route.ran(1)
		})
	}
}

func aBodyThatNeverComesEnds(w *world) {
	w.needs(LateBodies)
	for name, framing := range map[string]string{"with a length": "Content-Length: 28", "in chunks": inChunks} {
		for _, expects := range []string{"", "\r\nExpect: 100-continue"} {
			w.each(name+strings.TrimSpace(expects), func(w *world) {
				var asked atomic.Int64
				told, inside := make(chan struct{}), new(visits)
				route := w.asked(&asked).route(w.pays(http.StatusCreated))
				impatient := func(writer http.ResponseWriter, r *http.Request) {
					// As http.Server.ReadTimeout does, only not before the body is waited for.
					go func() {
						<-told
						_ = http.NewResponseController(writer).SetReadDeadline(time.Now())
					}()
					route.ServeHTTP(writer, r)
				}
				server, key := w.serve(inside.count(awaiting(http.HandlerFunc(impatient), 0, told))), w.key()
				conn := server.dial()
				conn.send(framed(key, "", framing+expects))
				got := conn.answer()
				if expects != "" {
					require.Equal(w, http.StatusContinue, got.status)
					got = conn.answer()
				}
				got.problem(idempotency.CodeRequestUnreadable)
				require.Empty(w, conn.ends())
				require.Zero(w, asked.Load())
				route.ran(0)
				w.leavesNothingBehind(inside)
				w.serve(route).talk(payment(key, "{}")).is(http.StatusCreated, `{"status":"answered"}`)
			})
		}
	}

	route := w.route(w.pays(http.StatusCreated))
	server := w.serve(route, func(s *httptest.Server) { s.Config.ReadTimeout = 50 * time.Millisecond })
	conn := server.dial()
	conn.send(framed("timeout", "", "Content-Length: 28"))
	conn.ends() // with an answer, or, where the header came too late already, without one
	route.ran(0)
}

// narrow is a listener whose connections take little before they are read.
type narrow struct{ net.Listener }

func (n narrow) Accept() (net.Conn, error) {
	conn, err := n.Listener.Accept()
	if err == nil {
		err = conn.(*net.TCPConn).SetWriteBuffer(32 << 10)
	}
	return conn, err
}

func narrowly(s *httptest.Server) { s.Listener = narrow{s.Listener} }

func anAnswerThatIsReadSlowlyHoldsNothing(w *world) {
	text := strings.Repeat("0123456789abcdef", 64<<10)
	committed, inside := make(chan struct{}, 1), new(visits)
	route := w.staging(func(stage string) {
		if stage == "committed" {
			committed <- struct{}{}
		}
	}).route(func(writer http.ResponseWriter, r *http.Request) {
		w.effect(r.Context())
		_, _ = io.WriteString(writer, text)
	})
	server := w.serve(inside.count(route), narrowly)
	conn := server.dial()
	require.NoError(w, conn.SetReadBuffer(32<<10))
	conn.send(payment("k", "{}"))
	within(w, committed)
	_, err := conn.in.Peek(1)
	require.NoError(w, err)
	// The rest of it waits for its reader; the database and the key do not.
	if w.pool != nil {
		require.Eventually(w, func() bool { return w.pool.Stat().AcquiredConns() == 0 }, patience, time.Millisecond)
	}
	again := server.talk(payment("k", "{}"))
	first := conn.answer()
	first.is(http.StatusOK, text)
	again.replays(first)
	route.ran(1)
	w.leavesNothingBehind(inside)
}
