package wireproxy

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"time"
)

// The codes in the place of a protocol version that ask for something else than a session.
const (
	cancelRequest = 80877102
	sslRequest    = 80877103
	gssRequest    = 80877104
)

// cancels returns the backend that a client's first message asks to cancel, or 0.
func cancels(start []byte) uint32 {
	if len(start) < 12 || binary.BigEndian.Uint32(start[4:]) != cancelRequest {
		return 0
	}
	return binary.BigEndian.Uint32(start[8:])
}

// greet reads what a client begins with, declines encryption, and returns the message for the server: a start-up message, or
// a cancel request, which is the whole of its connection.
func greet(client net.Conn) ([]byte, error) {
	if err := client.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return nil, err
	}
	for {
		head := make([]byte, 8)
		if _, err := io.ReadFull(client, head); err != nil {
			return nil, err
		}
		length := binary.BigEndian.Uint32(head)
		if length < 8 || length > 10_000 {
			return nil, errors.New("wireproxy: not a start-up message")
		}
		switch binary.BigEndian.Uint32(head[4:]) {
		case sslRequest, gssRequest:
			if _, err := client.Write([]byte{'N'}); err != nil {
				return nil, err
			}
			continue
		}
		start := make([]byte, length)
		copy(start, head)
		if _, err := io.ReadFull(client, start[8:]); err != nil {
			return nil, err
		}
		return start, client.SetReadDeadline(time.Time{})
	}
}
