package httpidem

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/onlyonce/onlyonce/idempotency"
)

// Replayed is the header that marks a stored response.
const Replayed = "Idempotent-Replayed"

// replayable are the headers that a replay repeats: those that say what the body is, and where the result is.
var replayable = []string{
	"Content-Disposition", "Content-Encoding", "Content-Language", "Content-Range", "Content-Type", "Etag", "Link", "Location",
}

// neverReplayed must not be repeated: they belong to one connection, one moment or one caller's credentials.
var neverReplayed = []string{
	"Authorization", "Connection", "Content-Length", "Date", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
	"Proxy-Connection", "Set-Cookie", "Set-Cookie2", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Www-Authenticate",
}

// replayList returns the allowlist with the user's names in it, sorted.
func replayList(extra []string) ([]string, error) {
	list := slices.Clone(replayable)
	for _, name := range extra {
		name = http.CanonicalHeaderKey(name)
		if !validName(name) || slices.Contains(neverReplayed, name) {
			return nil, fmt.Errorf("the header %q must not be replayed: it belongs to one connection, moment or credential; take it off ReplayHeaders", name)
		}
		list = append(list, name)
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}

// encodeHeader writes the Content-Type, and the headers on the list that the handler set and that were not there before it, as "Name: value\r\n" each.
func encodeHeader(list []string, header, before http.Header) []byte {
	size := 0
	for _, name := range list {
		for _, value := range header[name] {
			size += len(name) + len(value) + 4
		}
	}
	if size == 0 {
		return nil
	}
	encoded := make([]byte, 0, size)
	for _, name := range list {
		// What the body is does not depend on who said so first; the rest of the outer middleware's belongs to its request.
		if before != nil && name != "Content-Type" && slices.Equal(header[name], before[name]) {
			continue
		}
		for _, value := range header[name] {
			encoded = append(encoded, name...)
			encoded = append(encoded, ": "...)
			encoded = append(encoded, cleanValue(value)...)
			encoded = append(encoded, "\r\n"...)
		}
	}
	return encoded
}

// EncodeGiven is what DecodeHeader reads, of headers that a caller has given: all of them but those that are never replayed, which are left out.
// Names and values that no header can have are an error, and so is a name in two spellings; the error does not repeat them.
func EncodeGiven(given http.Header) ([]byte, error) {
	header, list := make(http.Header, len(given)), make([]string, 0, len(given))
	for name, values := range given {
		canonical := http.CanonicalHeaderKey(name)
		switch {
		case !validName(name):
			return nil, errors.New("a header's name has characters that no header's name can have")
		case header[canonical] != nil:
			return nil, errors.New("a header is there in two spellings of its name: give each name once, with all of its values")
		case slices.ContainsFunc(values, func(value string) bool { return !validValue(value) }):
			return nil, errors.New("a header's value has a line break or a control character in it")
		case len(values) > 0 && !slices.Contains(neverReplayed, canonical):
			header[canonical] = values
			list = append(list, canonical)
		}
	}
	slices.Sort(list)
	return encodeHeader(list, header, nil), nil
}

// cleanValue does what net/http does with a value before it is sent, so that the first answer and its replay are the same.
// What net/http lets through on one protocol and not on the other, DecodeHeader would not take: it goes the same way.
func cleanValue(value string) string {
	if !validValue(value) {
		clean := []byte(value)
		for i, c := range clean {
			if control(c) {
				clean[i] = ' '
			}
		}
		value = string(clean)
	}
	return strings.Trim(value, " \t")
}

// cleanHeader cleans, in place, the values of the headers on the list, so that the first answer has what replays will have.
func cleanHeader(list []string, header http.Header) {
	for _, name := range list {
		values := header[name]
		if !slices.ContainsFunc(values, func(value string) bool { return !validValue(value) }) {
			continue
		}
		cleaned := make([]string, len(values)) // the handler may hold the other one
		for i, value := range values {
			cleaned[i] = cleanValue(value)
		}
		header[name] = cleaned
	}
}

// DecodeHeader calls set for each stored header. It is strict: what it does not understand, or what could end a header
// early, is an error, and then set was not called at all.
func DecodeHeader(stored []byte, set func(name, value string)) error {
	text := string(stored)
	for rest := text; rest != ""; {
		name, value, after, err := cutHeader(rest)
		switch {
		case err != nil:
			return err
		case slices.Contains(replayable, name): // whose names need no look
		case !validName(name) || name != http.CanonicalHeaderKey(name):
			return errors.New("a stored header has an invalid name")
		case slices.Contains(neverReplayed, name):
			return fmt.Errorf("a stored header is %s, which is never stored", name)
		}
		if !validValue(value) {
			return fmt.Errorf("the stored header %s has a line break or a control character in it", name)
		}
		rest = after
	}
	for rest := text; rest != ""; {
		var name, value string
		name, value, rest, _ = cutHeader(rest)
		set(name, value)
	}
	return nil
}

func cutHeader(text string) (name, value, rest string, err error) {
	line, rest, ended := strings.Cut(text, "\r\n")
	name, value, found := strings.Cut(line, ": ")
	if !ended || !found {
		return "", "", "", errors.New(`a stored header is not of the form "Name: value", each on a line`)
	}
	return name, value, rest, nil
}

// inName are the bytes that a header's name may have.
var inName = func() (in [256]bool) {
	for c := byte(0x21); c < 0x7f; c++ {
		in[c] = strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) < 0
	}
	return in
}()

func validName(name string) bool {
	for i := range len(name) {
		if !inName[name[i]] {
			return false
		}
	}
	return name != ""
}

func validValue(value string) bool {
	for i := range len(value) {
		if control(value[i]) {
			return false
		}
	}
	return true
}

// control reports whether c must not be in a header's value.
func control(c byte) bool { return c < 0x20 && c != '\t' || c == 0x7f }

// readable checks a stored response before any of it is sent, and puts its headers into header, in place of those that are
// there.
func readable(response idempotency.Response, header http.Header) error {
	if response.Status < 200 || response.Status > 599 {
		return idempotency.ErrRecordUnreadable.Because(fmt.Errorf("the stored status is %d", response.Status))
	}
	previous := ""
	values := make([]string, 0, bytes.Count(response.Header, []byte("\n")))
	err := DecodeHeader(response.Header, func(name, value string) {
		values = append(values, value)
		if last := len(values) - 1; name == previous { // stored one after the other
			n := len(header[name])
			header[name] = values[last-n : last+1 : last+1]
		} else {
			header[name] = values[last : last+1 : last+1]
		}
		previous = name
	})
	if err != nil {
		return idempotency.ErrRecordUnreadable.Because(err)
	}
	return nil
}
