package idempotency

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// SharedScope is the scope of keys that all callers share. It is an explicit opt-out: with it, one caller can meet, and
// be answered with, what another one stored. Use it where there is one tenant only, or where the key itself comes from
// a trusted source (a provider's webhook id).
const SharedScope = "(shared)"

// MaxKeyBytes is the largest length of a key's scope, and of its value, in bytes.
const MaxKeyBytes = 255

// Key names one operation of one tenant. The scope is mandatory and must come from the authenticated identity, never
// from the request's own claims: two scopes never see each other's keys.
type Key struct {
	// Scope is the tenant: an account id, a merchant id, or [SharedScope].
	Scope string
	// Value is what the client calls the operation. It is a secret of the client's: it never appears in an error,
	// an event or a log.
	Value string
}

// Check reports whether k can be stored: scope and value each 1 to 255 bytes of valid UTF-8 with no control character,
// and not blank. The error is [ErrScopeMissing], [ErrKeyMissing] or [ErrKeyInvalid].
func (k Key) Check() error {
	if k.Scope == "" {
		return ErrScopeMissing
	}
	if k.Value == "" {
		return ErrKeyMissing
	}
	if !storable(k.Scope) {
		return ErrScopeMissing.withDetail("The scope must be 1 to 255 bytes of UTF-8 without control characters.")
	}
	if !storable(k.Value) {
		return ErrKeyInvalid
	}
	return nil
}

func storable(s string) bool {
	if visible(s) {
		return len(s) <= MaxKeyBytes
	}
	return len(s) <= MaxKeyBytes && utf8.ValidString(s) &&
		!strings.ContainsFunc(s, unicode.IsControl) && strings.TrimSpace(s) != ""
}

// visible reports whether s is of visible ASCII alone, as nearly every key is, and not empty.
func visible(s string) bool {
	for i := range len(s) {
		if s[i] < 0x21 || s[i] > 0x7e {
			return false
		}
	}
	return s != ""
}
