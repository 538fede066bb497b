package httpcontract

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
)

// wire is a connection on which a test writes HTTP by hand: what Go's client would tidy up, or refuse to send.
type wire struct {
	*world
	*net.TCPConn
	in *bufio.Reader
	// seen is all that the server has sent so far.
	seen *bytes.Buffer
}

func (s *server) dial() *wire {
	s.Helper()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	require.NoError(s, err)
	s.Cleanup(func() { _ = conn.Close() })
	require.NoError(s, conn.SetDeadline(time.Now().Add(patience)))
	seen := new(bytes.Buffer)
	return &wire{s.world, conn.(*net.TCPConn), bufio.NewReader(io.TeeReader(conn, seen)), seen}
}

// write sends lines, each ended as HTTP does, and then rest as it is.
func (c *wire) write(lines []string, rest string) {
	c.Helper()
	c.send(strings.Join(lines, "\r\n") + "\r\n\r\n" + rest)
}

// send sends text as it is, in one piece.
func (c *wire) send(text string) {
	c.Helper()
	_, err := io.WriteString(c.TCPConn, text)
	require.NoError(c, err)
}

// answer reads the next response.
func (c *wire) answer() answer {
	c.Helper()
	response, err := http.ReadResponse(c.in, nil)
	require.NoError(c, err)
	return read(c, response)
}

// ends checks that the server closes the connection, and returns what it said before.
func (c *wire) ends() string {
	c.Helper()
	rest, err := io.ReadAll(c.in)
	require.NotErrorIs(c, err, os.ErrDeadlineExceeded, "the connection was left open")
	return string(rest)
}

// reset leaves as a process does that is killed: with a RST, whatever is on its way.
func (c *wire) reset() {
	c.Helper()
	require.NoError(c, c.SetLinger(0))
	require.NoError(c, c.Close())
}

// payment is a POST with key as a client writes it: further header lines, then a body of its length.
func payment(key, body string, lines ...string) string {
	return framed(key, body, append(lines, fmt.Sprint("Content-Length: ", len(body)))...)
}

// framed is a POST with key whose framing is in lines, with rest after the header as it is.
func framed(key, rest string, lines ...string) string {
	return to("/payments", key, rest, lines...)
}

func to(target, key, rest string, lines ...string) string {
	head := []string{"POST " + target + " HTTP/1.1", "Host: test", "Content-Type: application/json"}
	if key != "" {
		head = append(head, "Idempotency-Key: "+key)
	}
	return strings.Join(append(head, lines...), "\r\n") + "\r\n\r\n" + rest
}

// chunked is body in chunks of size bytes, each with extension behind its size, and what trailers there are.
func chunked(body string, size int, extension string, trailers ...string) string {
	var text strings.Builder
	for len(body) > 0 {
		n := min(size, len(body))
		fmt.Fprintf(&text, "%x%s\r\n%s\r\n", n, extension, body[:n])
		body = body[n:]
	}
	text.WriteString("0" + extension + "\r\n")
	for _, trailer := range trailers {
		text.WriteString(trailer + "\r\n")
	}
	return text.String() + "\r\n"
}

// talk sends text on a connection of its own, and returns the answer.
func (s *server) talk(text string) answer {
	s.Helper()
	conn := s.dial()
	conn.send(text)
	return conn.answer()
}

// lines returns what a header was sent with in the connection's first answer, line by line: Go's client makes one of two equal
// lengths.
func (c *wire) lines(name string) (values []string) {
	c.Helper()
	head, _, _ := strings.Cut(c.seen.String(), "\r\n\r\n")
	for line := range strings.SplitSeq(head, "\r\n") {
		if found, value, ok := strings.Cut(line, ": "); ok && strings.EqualFold(found, name) {
			values = append(values, value)
		}
	}
	return values
}
