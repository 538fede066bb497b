package seal

import (
	"errors"
	"fmt"
)

// What is sealed is one text:
//
//	version (1) · length of the key's id · the id · nonce (12 bytes) · ciphertext and tag (16 bytes)
//
// The tag covers version and id, too, and then what the text is bound to. The former say by themselves where they end, so that the
// two cannot run into each other.
const (
	version  = 1
	maxID    = 64
	overhead = 12 + 16
)

var (
	// ErrKeyUnknown is in the error of what was sealed by a key that the Box does not have.
	ErrKeyUnknown = errors.New("seal: the key that sealed it is not there")
	// ErrNotAuthentic is in the error of what is not what its key has sealed, for what it is asked for.
	ErrNotAuthentic = errors.New("seal: not authentic")
)

func head(id string) []byte { return append([]byte{version, byte(len(id))}, id...) }

// Seal returns plain, encrypted by the current key and bound to bound. A second call with the same arguments returns another text.
// It does not fail.
func (b *Box) Seal(plain, bound []byte) ([]byte, error) {
	prefix := head(b.current)
	text := make([]byte, len(prefix), len(prefix)+len(plain)+overhead)
	copy(text, prefix)
	return b.keys[b.current].Seal(text, nil, plain, append(prefix, bound...)), nil
}

// idOf returns the id of the key that seems to have sealed a text of this version.
func idOf(sealed []byte) (string, bool) {
	if len(sealed) < 2 || sealed[0] != version {
		return "", false
	}
	rest, length := sealed[2:], int(sealed[1])
	if len(rest) < length+overhead || !validID(string(rest[:length])) {
		return "", false
	}
	return string(rest[:length]), true
}

// Open returns what was sealed with this bound. The error is [ErrKeyUnknown] or [ErrNotAuthentic], wrapped in what to do about it.
func (b *Box) Open(sealed, bound []byte) ([]byte, error) {
	id, ok := idOf(sealed)
	if !ok {
		return nil, fmt.Errorf("%w: it is damaged, or sealed by a newer version of this library", ErrNotAuthentic)
	}
	prefix := head(id)
	key, ok := b.keys[id]
	if !ok {
		return nil, fmt.Errorf("%w: give key %q back to seal.Config.Keys", ErrKeyUnknown, id)
	}
	plain, err := key.Open(nil, nil, sealed[len(prefix):], append(prefix, bound...))
	if err != nil {
		return nil, fmt.Errorf("%w: it was changed, or moved here from another key or fingerprint, or %q is not the key any more that once had this id, or seal.Config.Context is another", ErrNotAuthentic, id)
	}
	return plain, nil
}
