package wireproxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
)

// maxMessage is what PostgreSQL itself takes at most.
const maxMessage = 1 << 30

// message is one protocol message inside a larger buffer.
type message struct {
	kind byte
	body []byte
	end  int // where it ends in the buffer
}

// messageAt returns the message that begins at offset at. complete is false as long as part of it is missing.
func messageAt(buffer []byte, at int) (m message, complete bool, err error) {
	if len(buffer) < at+5 {
		return message{}, false, nil
	}
	length := int(binary.BigEndian.Uint32(buffer[at+1:]))
	if length < 4 || length > maxMessage {
		return message{}, false, errors.New("wireproxy: not a PostgreSQL message")
	}
	end := at + 1 + length
	if len(buffer) < end {
		return message{}, false, nil
	}
	return message{kind: buffer[at], body: buffer[at+5 : end], end: end}, true, nil
}

// word cuts a zero-terminated string off the front of b.
func word(b []byte) (string, []byte) {
	first, rest, _ := bytes.Cut(b, []byte{0})
	return string(first), rest
}

// inbox reads messages from a connection.
type inbox struct {
	from   net.Conn
	buffer []byte
	read   int // how much of buffer is read
	looked int // how much of it was handed to look
}

// next reads until look has seen a message after which the batch can go, and returns everything up to there, to be
// kept. look is called once for each message, in order, with its offset in the batch.
func (i *inbox) next(look func(at int, m message) (goes bool)) ([]byte, error) {
	for {
		gone := 0
		for {
			m, complete, err := messageAt(i.buffer[:i.read], i.looked)
			if err != nil {
				return nil, err
			}
			if !complete {
				break
			}
			if look(i.looked, m) {
				gone = m.end
			}
			i.looked = m.end
		}
		if gone > 0 {
			batch := bytes.Clone(i.buffer[:gone])
			i.read = copy(i.buffer, i.buffer[gone:i.read])
			i.looked -= gone
			return batch, nil
		}
		if i.read == len(i.buffer) {
			i.buffer = append(i.buffer, make([]byte, max(len(i.buffer), 16<<10))...)
		}
		n, err := i.from.Read(i.buffer[i.read:])
		i.read += n
		if err != nil {
			return nil, err
		}
	}
}
