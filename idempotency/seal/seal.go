// Package seal seals what idempotency keeps: AES-256-GCM, with keys that are rotated by their ids.
//
//	box, err := seal.New(seal.Config{Current: "2026-11", Keys: map[string][]byte{"2026-11": key}})
//	engine, err := idempotency.New(store, idempotency.Config{Sealer: box})
//
// A key is 32 random bytes (openssl rand -base64 32). Each seal draws a nonce of 96 bits, so one key must not seal more than 2³²
// times: past that, two equal nonces become likely enough to matter, and they would give away what is sealed with them and let it be
// forged. At 1000 operations a second that is 49 days; make another key current well before.
//
// To rotate, give the new key to every process; make it current; and take the old one away once nothing is stored any more that
// it has sealed. What a lost key has sealed is lost. docs/sealing.md has the procedures.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// KeySize is the length of a key in bytes.
const KeySize = 32

// Config configures a [Box].
type Config struct {
	// Current is the id of the key that seals.
	Current string
	// Keys are the keys that open, by their ids: 1 to 64 visible ASCII characters. An id stands readable in everything that its key
	// seals, and in errors. It belongs to its key for ever: never give it to another one.
	Keys map[string][]byte
}

// Box is an idempotency.Sealer. It is immutable, and safe for concurrent use.
type Box struct {
	current string
	keys    map[string]cipher.AEAD
}

// New returns a Box with the keys of config, of which it keeps no reference, or an error that says what is wrong with them. No key is
// in that error.
func New(config Config) (*Box, error) {
	box := &Box{current: config.Current, keys: map[string]cipher.AEAD{}}
	var wrong []error
	owner := map[[KeySize]byte]string{{}: ""} // nobody may have the key of zeros
	for _, id := range slices.Sorted(maps.Keys(config.Keys)) {
		key := config.Keys[id]
		if !validID(id) {
			wrong = append(wrong, errors.New("seal: the id of a key is not 1 to 64 visible ASCII characters"))
			continue
		}
		if len(key) != KeySize {
			wrong = append(wrong, fmt.Errorf("seal: key %q has %d bytes: give %d random ones (openssl rand -base64 32)", id, len(key), KeySize))
			continue
		}
		switch other, taken := owner[[KeySize]byte(key)]; {
		case taken && other == "":
			wrong = append(wrong, fmt.Errorf("seal: key %q is all zeros: give %d random bytes", id, KeySize))
		case taken:
			wrong = append(wrong, fmt.Errorf("seal: keys %q and %q are the same: a rotation needs another key", other, id))
		}
		owner[[KeySize]byte(key)] = id
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, fmt.Errorf("seal: key %q: %w", id, err)
		}
		if box.keys[id], err = cipher.NewGCMWithRandomNonce(block); err != nil {
			return nil, fmt.Errorf("seal: key %q: %w", id, err)
		}
	}
	if _, ok := config.Keys[config.Current]; !ok {
		wrong = append(wrong, errors.New("seal: Config.Current names none of Config.Keys: give the id of the key that seals"))
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, err
	}
	return box, nil
}

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

// String names the key that seals, and nothing else.
func (b *Box) String() string { return fmt.Sprintf("seal.Box(%q)", b.current) }

// GoString is String, so that no formatting reaches the keys.
func (b *Box) GoString() string { return b.String() }
