package idempotencygin

import (
	"bufio"
	"net"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/onlyonce/onlyonce/internal/httpidem"
)

// unwritten is what gin's writer gives as the size of a response that was not begun.
const unwritten = -1

// writer is the gin.ResponseWriter of a protected handler. As gin's own it holds a status back until the first byte, or
// WriteHeaderNow; and it sends nothing before the commit.
type writer struct {
	recorder *httpidem.Recorder
	status   int
	size     int
	late     int // the last error status that came when the response was begun already, or 0
}

var _ gin.ResponseWriter = (*writer)(nil)

// newWriter returns one that answers with status if nobody sets another one.
func newWriter(recorder *httpidem.Recorder, status int) *writer {
	return &writer{recorder: recorder, status: status, size: unwritten}
}

// Unwrap leads http.ResponseController to the connection's deadlines.
func (w *writer) Unwrap() http.ResponseWriter { return w.recorder }

func (w *writer) Header() http.Header { return w.recorder.Header() }

// WriteHeader takes the status that the response begins with. As with gin, 0 and less change nothing. Informational ones are
// dropped: they would be sent at once. And as with gin, a response that was begun keeps its status.
func (w *writer) WriteHeader(status int) {
	switch {
	case status <= 0 || status == w.status:
	case status >= 100 && status < http.StatusOK && status != http.StatusSwitchingProtocols:
	case !w.Written():
		w.status = status
	case status >= http.StatusBadRequest:
		w.late = status
	}
}

// WriteHeaderNow begins the response.
func (w *writer) WriteHeaderNow() {
	if !w.Written() {
		w.size = 0
		w.recorder.WriteHeader(w.status)
	}
}

func (w *writer) Write(b []byte) (int, error) {
	w.WriteHeaderNow()
	n, err := w.recorder.Write(b)
	w.size += n
	return n, err
}

func (w *writer) WriteString(s string) (int, error) {
	w.WriteHeaderNow()
	n, err := w.recorder.WriteString(s)
	w.size += n
	return n, err
}

func (w *writer) Status() int   { return w.status }
func (w *writer) Size() int     { return w.size }
func (w *writer) Written() bool { return w.size != unwritten }

// Flush begins the response and sends nothing; it has no way to say so. FlushError, which http.ResponseController calls, has.
func (w *writer) Flush() { w.WriteHeaderNow() }

// FlushError refuses: see httpidem.ErrBuffered.
func (w *writer) FlushError() error { return httpidem.ErrBuffered }

// Hijack refuses: see httpidem.ErrBuffered.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) { return nil, nil, httpidem.ErrBuffered }

// CloseNotify returns a channel on which nothing comes: what has begun is finished, whether or not the client is still there.
func (w *writer) CloseNotify() <-chan bool { return nil }

// Pusher returns nil, as for a connection that cannot push: what was pushed would be there before the commit.
func (w *writer) Pusher() http.Pusher { return nil }
