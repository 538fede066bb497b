package service

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/onlyonce/onlyonce/gateway/internal/api"
	"github.com/onlyonce/onlyonce/idempotency"
)

// members are those of one JSON object, each as it was sent, byte for byte. encoding/json would take a name in another case for a known one,
// and the last one of two; here either is an error.
type members map[string]json.RawMessage

// known are the names that there may be; without any, all may be.
func readMembers(text []byte, known ...string) (members, error) {
	if !utf8.Valid(text) {
		return nil, invalid("The body is not UTF-8.")
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	if first, err := decoder.Token(); err != nil || first != json.Delim('{') {
		return nil, invalid("The body must be one JSON object.")
	}
	found := members{}
	for decoder.More() {
		token, err := decoder.Token()
		name, ok := token.(string)
		if err != nil || !ok {
			return nil, invalid("The body is not JSON.")
		}
		if len(known) > 0 && !slices.Contains(known, name) {
			return nil, invalid("A member is not known here. Known are: " + strings.Join(known, ", ") + ".")
		}
		if _, twice := found[name]; twice {
			return nil, invalid("A member is there twice.")
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, invalid("The body is not JSON.")
		}
		found[name] = value
	}
	if _, err := decoder.Token(); err != nil {
		return nil, invalid("The body is not JSON.")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, invalid("The body must be one JSON object, and nothing after it.")
	}
	return found, nil
}

// readBody reads the members of a request.
func readBody(w http.ResponseWriter, r *http.Request, limit int, known ...string) (members, error) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(limit)))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, idempotency.ErrRequestTooLarge.Because(err)
	}
	if err != nil {
		return nil, idempotency.ErrRequestUnreadable.Because(err)
	}
	return readMembers(text, known...)
}

// text returns a string, "" where the member is missing.
func (m members) text(name string) (string, error) {
	raw, there := m[name]
	if !there {
		return "", nil
	}
	var value *string
	if err := json.Unmarshal(raw, &value); err != nil || value == nil {
		return "", invalid(name + " must be a string.")
	}
	if strings.ContainsRune(*value, utf8.RuneError) { // also what half of a surrogate pair becomes: two texts would be one
		return "", invalid(name + " has characters in it that are not Unicode.")
	}
	return *value, nil
}

// milliseconds returns a time, or def where the member is missing.
func (m members) milliseconds(name string, def, most time.Duration) (time.Duration, error) {
	raw, there := m[name]
	if !there {
		return def, nil
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil || n < 1 || n > most.Milliseconds() {
		return 0, invalid(name + " must be a whole number of milliseconds from 1 to " + strconv.FormatInt(most.Milliseconds(), 10) + ".")
	}
	return time.Duration(n) * time.Millisecond, nil
}

// key returns the key that the request is about.
func (m members) key(scope string) (idempotency.Key, error) {
	value, err := m.text(api.Key)
	if err != nil {
		return idempotency.Key{}, err
	}
	return newKey(scope, value)
}

func newKey(scope, value string) (idempotency.Key, error) {
	key := idempotency.Key{Scope: scope, Value: value}
	switch err := key.Check(); {
	case errors.Is(err, idempotency.ErrKeyMissing):
		return key, &idempotency.Error{Code: idempotency.CodeKeyMissing, Detail: "The request does not say which idempotency key it is about: give " + api.Key + "."}
	case errors.Is(err, idempotency.ErrKeyInvalid):
		return key, &idempotency.Error{Code: idempotency.CodeKeyInvalid,
			Detail: "The idempotency key must have 1 to 255 bytes of UTF-8 without control characters, and must not be blank."}
	default:
		return key, err
	}
}

// owner returns the token that the lock value is.
func (m members) owner() (idempotency.OwnerToken, error) {
	value, err := m.text(api.LockValue)
	if err != nil {
		return idempotency.OwnerToken{}, err
	}
	owner, err := idempotency.ParseOwnerToken(value)
	if err != nil {
		return owner, invalid(api.LockValue + " must be the 32 hexadecimal digits that the service gave out, or the caller drew, not all of them zero.")
	}
	return owner, nil
}
