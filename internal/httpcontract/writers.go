package httpcontract

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var writerTests = []test{
	{"no way leads past the response that is kept", noWayLeadsPastTheResponse},
	{"what is copied from a file waits for the commit", whatIsCopiedFromAFileWaits},
	{"a byte that is written late goes nowhere", aByteThatIsWrittenLateGoesNowhere},
	{"a handler that aborts answers nothing and frees the key", aHandlerThatAbortsAnswersNothing},
}

// Middleware of every kind looks for more in a writer than http.ResponseWriter has, and asks what it wraps.
func noWayLeadsPastTheResponse(w *world) {
	w.needs(Unwrapping)
	outer := &touched{ResponseWriter: httptest.NewRecorder()}
	route := w.route(func(writer http.ResponseWriter, r *http.Request) {
		controller := http.NewResponseController(writer)
		assert.NoError(w, controller.EnableFullDuplex())
		for depth := 0; writer != nil; depth++ {
			assert.NotSame(w, outer, writer, "the client's own writer is %d deep", depth)
			if pusher, ok := writer.(http.Pusher); ok {
				assert.Error(w, pusher.Push("/receipt", nil))
			}
			if from, ok := writer.(io.ReaderFrom); ok {
				_, _ = from.ReadFrom(strings.NewReader("x"))
			}
			if flusher, ok := writer.(http.Flusher); ok {
				flusher.Flush()
			}
			if flusher, ok := writer.(interface{ FlushError() error }); ok {
				assert.Error(w, flusher.FlushError())
			}
			if hijacker, ok := writer.(http.Hijacker); ok {
				conn, _, err := hijacker.Hijack()
				assert.Nil(w, conn)
				assert.Error(w, err)
			}
			assert.False(w, outer.sent.Load(), "%T, %d deep, sent something", writer, depth)
			inner, ok := writer.(interface{ Unwrap() http.ResponseWriter })
			if !ok {
				return
			}
			writer = inner.Unwrap()
		}
	})
	route.ServeHTTP(outer, post("k", "{}"))
	require.True(w, outer.sent.Load())
	route.ran(1)
}

// net/http's own writer copies a file to the socket inside of the kernel, as soon as it is told to.
func whatIsCopiedFromAFileWaits(w *world) {
	text := strings.Repeat("receipt ", 32<<10)
	path := filepath.Join(w.TempDir(), "receipt.txt")
	require.NoError(w, os.WriteFile(path, []byte(text), 0o600))
	for name, send := range map[string]func(writer http.ResponseWriter, r *http.Request, file *os.File){
		"by io.Copy": func(writer http.ResponseWriter, _ *http.Request, file *os.File) { _, _ = io.Copy(writer, file) },
		"by http.ServeContent": func(writer http.ResponseWriter, r *http.Request, file *os.File) {
			http.ServeContent(writer, r, "receipt.txt", time.Time{}, file)
		},
		"by http.ServeFile": func(writer http.ResponseWriter, r *http.Request, _ *os.File) { http.ServeFile(writer, r, path) },
	} {
		w.each(name, func(w *world) {
			copied, release := make(chan struct{}), make(chan struct{})
			route := w.route(func(writer http.ResponseWriter, r *http.Request) {
				w.effect(r.Context())
				file, err := os.Open(path)
				if !assert.NoError(w, err) {
					return
				}
				defer file.Close()
				send(writer, r, file)
				close(copied)
				<-release
			})
			server, key := w.serve(route), w.key()
			conn := server.dial()
			conn.send(payment(key, "{}"))
			var released atomic.Bool
			early := make(chan bool, 1)
			go func() {
				_, err := conn.in.Peek(1)
				early <- err != nil || !released.Load()
			}()
			within(w, copied)
			released.Store(true)
			close(release)
			require.False(w, within(w, early), "a byte came before the commit")
			first := conn.answer()
			first.is(http.StatusOK, text)
			server.talk(payment(key, "{}")).replays(first)
			route.ran(1)
		})
	}
}

func aByteThatIsWrittenLateGoesNowhere(w *world) {
	var kept http.ResponseWriter
	route := w.route(func(writer http.ResponseWriter, r *http.Request) {
		kept = writer
		w.pays(http.StatusCreated)(writer, r)
	})
	server := w.serve(route)
	conn := server.dial()
	for i := range 2 {
		conn.send(payment("k", "{}"))
		first := conn.answer()
		require.Equal(w, `{"status":"answered"}`, first.body)
		if i == 0 {
			first.is(http.StatusCreated, `{"status":"answered"}`)
			_, err := kept.Write([]byte("HTTP/1.1 200 OK\r\n\r\n"))
			require.Error(w, err)
			kept.Header().Set("Content-Type", "text/late")
			kept.WriteHeader(http.StatusTeapot)
		} else {
			require.Equal(w, "application/json", first.header.Get("Content-Type"))
			require.Equal(w, http.StatusCreated, first.status)
		}
	}
	require.Zero(w, conn.in.Buffered())
	route.ran(1)
}

func aHandlerThatAbortsAnswersNothing(w *world) {
	var abort atomic.Bool
	abort.Store(true)
	route := w.route(func(writer http.ResponseWriter, r *http.Request) {
		w.pays(http.StatusCreated)(writer, r)
		if abort.Load() {
			panic(http.ErrAbortHandler)
		}
	})
	server := w.serve(route)
	conn := server.dial()
	conn.send(payment("k", "{}"))
	require.Empty(w, conn.ends(), "an aborted response has begun")
	w.hasEffects(0)
	w.hasRecords(0)
	abort.Store(false)
	server.talk(payment("k", "{}")).is(http.StatusCreated, `{"status":"answered"}`)
	route.ran(2)
	w.hasEffects(1)
}
