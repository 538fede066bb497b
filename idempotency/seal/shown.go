package seal

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
)

// Ids are shown, and keys never. So what may be a key in the place of an id is none.

func validID(id string) bool {
	if len(id) < 1 || len(id) > maxID {
		return false
	}
	for _, c := range []byte(id) {
		if c < 0x21 || c > 0x7e {
			return false
		}
	}
	return true
}

// likeKey reports whether an id is how a key of KeySize bytes is written.
func likeKey(id string) bool {
	id = strings.TrimRight(id, "=")
	for _, decode := range []func(string) ([]byte, error){base64.RawStdEncoding.DecodeString, base64.RawURLEncoding.DecodeString, hex.DecodeString} {
		if key, err := decode(id); err == nil && len(key) == KeySize {
			return true
		}
	}
	return false
}

// String names the key that seals, and nothing else.
func (b *Box) String() string { return fmt.Sprintf("seal.Box(%q)", b.current) }

// GoString is String, so that no formatting reaches the keys.
func (b *Box) GoString() string { return b.String() }

// String names the keys by their ids.
func (c Config) String() string {
	text := "seal.Config(current " + shown(c.Current) + ", keys"
	for _, id := range slices.Sorted(maps.Keys(c.Keys)) {
		text += " " + shown(id)
	}
	return text + ")"
}

// Format writes String, whatever the verb: the others would print the keys. It is not reached where a struct has the Config in an
// unexported field.
func (c Config) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// LogValue is String, so that no log has the keys.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// shown returns an id as it may be shown.
func shown(id string) string {
	if !validID(id) || likeKey(id) {
		return "?"
	}
	return fmt.Sprintf("%q", id)
}
