package nethttp_test

import (
	"bytes"
	"log"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// script is the server's end of a connection whose client has said everything at once, and listens until the server has done.
type script struct {
	net.Conn // nil: nothing else is asked of it
	said     *bytes.Reader
	heard    bytes.Buffer
	aborted  chan struct{}
	closed   chan struct{}
}

func (s *script) Read(b []byte) (int, error) {
	if s.said.Len() == 0 && len(b) == 1 {
		// This is how net/http looks whether the client is still there while a handler runs. It is, or every input would
		// have two outcomes.
		select {
		case <-s.aborted:
			return 0, os.ErrDeadlineExceeded
		case <-time.After(time.Second):
		}
	}
	return s.said.Read(b)
}

func (s *script) SetReadDeadline(deadline time.Time) error {
	if !deadline.IsZero() {
		select {
		case s.aborted <- struct{}{}:
		default:
		}
	}
	return nil
}

func (s *script) Write(b []byte) (int, error)    { return s.heard.Write(b) }
func (*script) SetDeadline(time.Time) error      { return nil }
func (*script) SetWriteDeadline(time.Time) error { return nil }
func (*script) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*script) RemoteAddr() net.Addr             { return &net.TCPAddr{} }

func (s *script) Close() error {
	select {
	case <-s.closed:
	default:
		close(s.closed)
	}
	return nil
}

// stage is a listener to which one connection comes.
type stage struct {
	conn chan net.Conn
	done chan struct{}
}

func (s *stage) Accept() (net.Conn, error) {
	select {
	case conn := <-s.conn:
		return conn, nil
	case <-s.done:
		return nil, net.ErrClosed
	}
}

func (s *stage) Close() error { return nil }
func (*stage) Addr() net.Addr { return &net.TCPAddr{} }

// play has net/http's server serve a client that says said, and returns what that heard. A panic fails the test.
func play(t *testing.T, handler http.Handler, said []byte) string {
	t.Helper()
	conn := &script{said: bytes.NewReader(said), aborted: make(chan struct{}, 1), closed: make(chan struct{})}
	listener := &stage{make(chan net.Conn, 1), make(chan struct{})}
	listener.conn <- conn
	var logged bytes.Buffer
	server := http.Server{Handler: handler, ErrorLog: log.New(&logged, "", 0)}
	over := make(chan error)
	go func() { over <- server.Serve(listener) }()
	<-conn.closed
	close(listener.done)
	<-over
	require.NotContains(t, logged.String(), "panic")
	return conn.heard.String()
}
