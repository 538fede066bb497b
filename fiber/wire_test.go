package idempotencyfiber_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v3"
	"github.com/stretchr/testify/require"
)

// patience bounds what must happen soon, so that a test that fails does not hang.
const patience = 20 * time.Second

// wire is a connection to a shop's own server, on which a test writes HTTP by hand.
type wire struct {
	*testing.T
	*net.TCPConn
	in *bufio.Reader
}

// listen starts the shop's server, as Fiber does it, and returns its address.
func (s *shop) listen() string {
	s.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(s.T, err)
	over := make(chan error, 1)
	go func() { over <- s.Listener(listener, fiber.ListenConfig{DisableStartupMessage: true}) }()
	s.Cleanup(func() {
		require.NoError(s.T, s.ShutdownWithTimeout(patience))
		require.NoError(s.T, <-over)
	})
	return listener.Addr().String()
}

func (s *shop) dial(address string) *wire {
	s.Helper()
	conn, err := net.Dial("tcp", address)
	require.NoError(s.T, err)
	s.Cleanup(func() { _ = conn.Close() })
	require.NoError(s.T, conn.SetDeadline(time.Now().Add(patience)))
	return &wire{s.T, conn.(*net.TCPConn), bufio.NewReader(conn)}
}

func (w *wire) send(text string) {
	w.Helper()
	_, err := io.WriteString(w.TCPConn, text)
	require.NoError(w, err)
}

func (w *wire) answer() answer {
	w.Helper()
	response, err := http.ReadResponse(w.in, nil)
	require.NoError(w, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(w, err)
	return answer{response.StatusCode, response.Header, string(body)}
}

// ask sends text and returns what is answered to it.
func (w *wire) ask(text string) answer {
	w.Helper()
	w.send(text)
	return w.answer()
}

// payment is an order as a client writes it.
func payment(key, body string, lines ...string) string {
	return framed(key, body, append(lines, fmt.Sprint("Content-Length: ", len(body)))...)
}

// framed is an order whose framing is in lines, with rest after the header as it is.
func framed(key, rest string, lines ...string) string {
	head := append([]string{"POST /orders/7 HTTP/1.1", "Host: test", "Idempotency-Key: " + key}, lines...)
	return strings.Join(head, "\r\n") + "\r\n\r\n" + rest
}

const inChunks = "Transfer-Encoding: chunked"
