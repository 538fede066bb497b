package httpidem

import (
	"encoding/binary"
	"errors"
	"net/http"
	"slices"
)

// description is a request as it is stored with a recovery point: all that the completer makes it of again. The key is not
// part of it, nor is any credential: the completer brings the one, and [Resume]'s hook the other.
type description struct {
	method string
	// target is the request's URI as the client sent it, before any outer router cut a part off: the completer goes through that
	// router again.
	target string
	host   string
	header http.Header
	body   []byte
}

// descriptionVersion is the first byte of a description. Method, target and host follow, then the number of header lines, name
// and value of each, and the body. Each of them stands after its length; lengths and numbers are unsigned varints.
const descriptionVersion = 1

// describe is the request's idempotency.Request.Describe.
func (x *exchange) describe() ([]byte, error) {
	r := x.call.Request
	target := r.RequestURI
	if target == "" { // it did not come from a server
		target = r.URL.RequestURI()
	}
	return appendDescription(nil, description{r.Method, target, r.Host, r.Header, x.body}, x.rules.keep), nil
}

// appendDescription appends d with those of its headers that are on the list, in the list's order.
func appendDescription(b []byte, d description, list []string) []byte {
	lines, size := 0, 1+len(d.method)+len(d.target)+len(d.host)+len(d.body)+5*binary.MaxVarintLen32
	for _, name := range list {
		for _, value := range d.header[name] {
			lines++
			size += len(name) + len(value) + 2*binary.MaxVarintLen32
		}
	}
	b = append(slices.Grow(b, size), descriptionVersion)
	b = appendField(b, d.method)
	b = appendField(b, d.target)
	b = appendField(b, d.host)
	b = binary.AppendUvarint(b, uint64(lines))
	for _, name := range list {
		for _, value := range d.header[name] {
			b = appendField(b, name)
			b = appendField(b, value)
		}
	}
	return appendField(b, d.body)
}

func appendField[T string | []byte](b []byte, field T) []byte {
	b = binary.AppendUvarint(b, uint64(len(field)))
	return append(b, field...)
}

var errDescription = errors.New("idempotency: the stored request is damaged, or of a newer version of this library")

// parseDescription reads a description strictly: a request has one form, and whatever is not in that form is an error. The body
// is part of b.
func parseDescription(b []byte) (description, error) {
	if len(b) == 0 || b[0] != descriptionVersion {
		return description{}, errDescription
	}
	p := parser{rest: b[1:]}
	d := description{method: string(p.field()), target: string(p.field()), host: string(p.field()), header: http.Header{}}
	previous := ""
	for range p.number() {
		name, value := string(p.field()), string(p.field())
		if p.damaged || name < previous || !validName(name) || name != http.CanonicalHeaderKey(name) || slices.Contains(neverKept, name) {
			return description{}, errDescription
		}
		d.header[name] = append(d.header[name], value)
		previous = name
	}
	d.body = p.field()
	if p.damaged || len(p.rest) > 0 || d.method == "" || d.target == "" {
		return description{}, errDescription
	}
	return d, nil
}

// parser reads numbers and fields off the front of rest, and nothing more once it is damaged.
type parser struct {
	rest    []byte
	damaged bool
}

func (p *parser) number() uint64 {
	number, n := binary.Uvarint(p.rest)
	if p.damaged || n <= 0 || n > 1 && p.rest[n-1] == 0 { // with a zero at its end it is longer than it needs to be
		p.damaged = true
		return 0
	}
	p.rest = p.rest[n:]
	return number
}

func (p *parser) field() []byte {
	length := p.number()
	if p.damaged || length > uint64(len(p.rest)) {
		p.damaged = true
		return nil
	}
	field := p.rest[:length:length]
	p.rest = p.rest[length:]
	return field
}
