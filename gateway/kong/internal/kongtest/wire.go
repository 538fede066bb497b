package kongtest

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"google.golang.org/protobuf/proto"
)

// A frame is its length, four bytes, the least first, and then its content.

func readFrame(conn net.Conn) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(length[:])
	if n > 64<<20 {
		return nil, errors.New("kongtest: a frame is longer than any that there should be")
	}
	content := make([]byte, n)
	_, err := io.ReadFull(conn, content)
	return content, err
}

func writeFrame(conn net.Conn, content []byte) error {
	frame := binary.LittleEndian.AppendUint32(make([]byte, 0, 4+len(content)), uint32(len(content)))
	_, err := conn.Write(append(frame, content...))
	return err
}

// encodeHeaders is a google.protobuf.Struct as Kong writes it: without a look at whether strings are UTF-8; one value as it is, several as a list.
func encodeHeaders(header map[string][]string) (encoded []byte) {
	for name, values := range header {
		var value []byte
		if len(values) == 1 {
			value = field(nil, 3, []byte(values[0]))
		} else {
			var list []byte
			for _, one := range values {
				list = field(list, 1, field(nil, 3, []byte(one)))
			}
			value = field(nil, 6, list)
		}
		encoded = field(encoded, 1, field(field(nil, 1, []byte(strings.ToLower(name))), 2, value))
	}
	return encoded
}

func field(b []byte, number protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, number, protowire.BytesType), value)
}

// readExit reads an ExitArgs, whose headers may hold any bytes. The names are put in lower case, so that they can be looked up.
func readExit(t testing.TB, args []byte) *Answer {
	answer := &Answer{Header: map[string][]string{}}
	for len(args) > 0 {
		number, kind, n := protowire.ConsumeTag(args)
		if n < 0 {
			t.Fatal("ExitArgs cannot be read")
		}
		args = args[n:]
		switch {
		case number == 1 && kind == protowire.VarintType:
			status, n := protowire.ConsumeVarint(args)
			answer.Status, args = int(status), args[n:]
		case kind == protowire.BytesType:
			value, n := protowire.ConsumeBytes(args)
			if args = args[n:]; number == 2 {
				answer.Body = value
			} else if err := readHeaders(value, answer.Header); err != nil {
				t.Fatal(err)
			}
		default:
			t.Fatalf("ExitArgs has a field %d that Kong does not know", number)
		}
	}
	return answer
}

// readHeaders reads a Struct of lists of strings, and nothing else.
func readHeaders(b []byte, into map[string][]string) error {
	for _, entry := range inside(b, 1) {
		name, values := inside(entry, 1), inside(entry, 2)
		if len(name) != 1 || len(values) != 1 {
			return errors.New("kongtest: a header is not a name and a value")
		}
		for _, list := range inside(values[0], 6) {
			for _, value := range inside(list, 1) {
				for _, text := range inside(value, 3) {
					key := strings.ToLower(string(name[0]))
					into[key] = append(into[key], string(text))
				}
			}
		}
	}
	return nil
}

// inside returns the fields of this number, all of which must have a length.
func inside(b []byte, number protowire.Number) (found [][]byte) {
	for len(b) > 0 {
		at, _, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil
		}
		value, m := protowire.ConsumeBytes(b[n:])
		if m < 0 {
			return nil
		}
		if b = b[n+m:]; at == number {
			found = append(found, value)
		}
	}
	return found
}

// call sends an RpcCall.
func call(conn net.Conn, call *kong_plugin_protocol.RpcCall) error {
	encoded, err := proto.Marshal(call)
	if err != nil {
		return err
	}
	return writeFrame(conn, encoded)
}
