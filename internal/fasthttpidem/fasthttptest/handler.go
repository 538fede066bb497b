// Package fasthttptest has fasthttp serve what tests have as an http.Handler, and net/http's tests what is served by fasthttp.
package fasthttptest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"

	"github.com/valyala/fasthttp"

	"github.com/onlyonce/onlyonce/internal/fasthttpidem"
)

// Serve has handler answer the request of fctx, with ctx as its context, in this goroutine. It writes to fasthttp's response, by the
// rules of net/http.
func Serve(handler http.Handler, fctx *fasthttp.RequestCtx, ctx context.Context) {
	w := &writer{Writer: fasthttpidem.NewWriter(fctx)}
	defer w.over.Store(true)
	handler.ServeHTTP(w, fasthttpidem.NewRequest(fctx, ctx))
	w.WriteHeader(http.StatusOK)
}

// writer is net/http's idea of a fasthttp response.
type writer struct {
	*fasthttpidem.Writer
	status int
	header http.Header // nil until it is written
	over   atomic.Bool
}

var errOver = errors.New("fasthttptest: the handler has returned")

func (w *writer) Header() http.Header {
	if w.header != nil {
		return w.header // and what is set now goes nowhere
	}
	return w.Writer.Header()
}

func (w *writer) WriteHeader(status int) {
	if status < 100 || status > 999 {
		panic(fmt.Sprintf("invalid WriteHeader code %v", status))
	}
	if w.over.Load() || w.status != 0 || status < 200 && status != http.StatusSwitchingProtocols {
		return
	}
	w.status = status
	header := w.Writer.Header()
	for name := range header {
		if len(name) > len(http.TrailerPrefix) && name[:len(http.TrailerPrefix)] == http.TrailerPrefix {
			delete(header, name) // fasthttp has no such thing
		}
	}
	w.Writer.WriteHeader(status)
	w.header = header.Clone()
}

func (w *writer) Write(b []byte) (int, error) {
	if w.over.Load() {
		return 0, errOver
	}
	w.WriteHeader(http.StatusOK)
	if w.status == http.StatusNoContent || w.status == http.StatusNotModified {
		return 0, http.ErrBodyNotAllowed
	}
	return w.Writer.Write(b)
}

// Flush does nothing: fasthttp sends a response when its handler has returned.
func (w *writer) Flush() {}

func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return nil, nil, errors.New("fasthttptest: not here, protected or not")
}

func (w *writer) EnableFullDuplex() error { return nil }
