package line_test

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/onlyonce/onlyonce/bench/line"
)

// echo answers with what it was sent.
func echo(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(conn, conn)
				_ = conn.Close()
			}()
		}
	}()
	return listener
}

func TestAnAnswerTakesTheRoundTripLongerAndIsWhole(t *testing.T) {
	const delay = 20 * time.Millisecond
	l, err := line.Open(echo(t).Addr().String(), delay)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, message := range []string{"a", "message", "and another"} {
		began := time.Now()
		if _, err := io.WriteString(conn, message); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, len(message))
		if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != message {
			t.Fatalf("%q %v", answer, err)
		}
		if took := time.Since(began); took < delay {
			t.Errorf("%q was there after %v", message, took)
		}
	}
}

// What is sent without waiting travels together: a line is long, not narrow.
func TestPipelinedMessagesShareARoundTrip(t *testing.T) {
	const delay, messages = 50 * time.Millisecond, 100
	l, err := line.Open(echo(t).Addr().String(), delay)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	began := time.Now()
	for range messages {
		if _, err := conn.Write([]byte{'x'}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.ReadFull(conn, make([]byte, messages)); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < delay || took > messages/4*delay {
		t.Errorf("%d messages took %v", messages, took)
	}
}

func TestTheEndOfEitherSideReachesTheOther(t *testing.T) {
	upstream, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer upstream.Close()
	l, err := line.Open(upstream.Addr().String(), time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, clientEnds := range []bool{true, false} {
		client, err := net.Dial("tcp", l.Addr())
		if err != nil {
			t.Fatal(err)
		}
		server, err := upstream.Accept()
		if err != nil {
			t.Fatal(err)
		}
		ends, other := server, client
		if clientEnds {
			ends, other = client, server
		}
		_ = ends.Close()
		_ = other.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := other.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("client ends %t: %v", clientEnds, err)
		}
		_ = other.Close()
	}
}
