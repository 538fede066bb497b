package plugin

import (
	"errors"
	"net/http"

	"github.com/Kong/go-pdk/bridge"
	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/emptypb"
)

// go-pdk has headers go as strings of Protocol Buffers, which must be UTF-8; HTTP knows no such rule. A request with a byte of Latin-1 in one
// of its headers could not be read at all, and a response lose all of its headers. So they are read and written here, byte by byte.

// mostHeaders is what Kong hands out at most.
const mostHeaders = 1000

var (
	errWire    = errors.New("onlyonce: Kong's reply cannot be read")
	errHeaders = errors.New("onlyonce: there are 1000 headers or more, of which Kong hands out no more than that")
)

// headers asks Kong for headers by this method. Kong cuts them off at 1000, silently: then there might be a second key.
func headers(kong bridge.PdkBridge, method string) (http.Header, error) {
	reply := &emptypb.Empty{} // which keeps what it does not know as it came
	if err := kong.Ask(method, &kong_plugin_protocol.Int{V: mostHeaders}, reply); err != nil {
		return nil, err
	}
	header, count := http.Header{}, 0
	err := fields(reply.ProtoReflect().GetUnknown(), func(number protowire.Number, entry []byte) error {
		if number != 1 {
			return nil
		}
		var name string
		var values []string
		err := fields(entry, func(number protowire.Number, b []byte) (err error) {
			switch number {
			case 1:
				name = http.CanonicalHeaderKey(string(b))
			case 2:
				values, err = headerValues(b)
			}
			return err
		})
		header[name] = append(header[name], values...)
		count += len(values)
		return err
	})
	if err == nil && count >= mostHeaders {
		return nil, errHeaders
	}
	return header, err
}

// headerValues reads a google.protobuf.Value: a string, a list of them, or, as Kong has it for a header without a value, true.
func headerValues(b []byte) (values []string, err error) {
	other := true
	err = fields(b, func(number protowire.Number, b []byte) error {
		switch number {
		case 3:
			values, other = append(values, string(b)), false
		case 6:
			other = false
			return fields(b, func(number protowire.Number, b []byte) error {
				if number != 1 {
					return nil
				}
				more, err := headerValues(b)
				values = append(values, more...)
				return err
			})
		}
		return nil
	})
	if other && err == nil {
		values = []string{""}
	}
	return values, err
}

// fields calls each for each field of a message that has a length. The others are no part of what is read here.
func fields(message []byte, each func(number protowire.Number, value []byte) error) error {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return errWire
		}
		message = message[n:]
		if kind != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(number, kind, message); n < 0 {
				return errWire
			}
			message = message[n:]
			continue
		}
		value, n := protowire.ConsumeBytes(message)
		if n < 0 {
			return errWire
		}
		message = message[n:]
		if err := each(number, value); err != nil {
			return err
		}
	}
	return nil
}

// exitArgs is an ExitArgs: status, body and a Struct of headers whose values are lists.
func exitArgs(status int, header http.Header, body []byte) *emptypb.Empty {
	var list []byte
	for name, values := range header {
		var all []byte
		for _, value := range values {
			all = message(all, 1, message(nil, 3, []byte(value)))
		}
		entry := message(nil, 1, []byte(name))
		entry = message(entry, 2, message(nil, 6, all))
		list = message(list, 1, entry)
	}
	args := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(status))
	if len(body) > 0 {
		args = message(args, 2, body)
	}
	args = message(args, 3, list)
	raw := &emptypb.Empty{}
	raw.ProtoReflect().SetUnknown(args)
	return raw
}

func message(b []byte, number protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, number, protowire.BytesType), value)
}
