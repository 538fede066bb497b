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
	"crypto/hkdf"
	"crypto/sha256"
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
	// seals, and in errors. It belongs to its key for ever: never give it to another one. What looks like a key itself is refused.
	Keys map[string][]byte
	// Context names what the records belong to, such as "payments": the service, or the table where it has several. What is sealed
	// for one does not open for another that has the same keys, so that nobody can move a record from there to here. It works by
	// sealing with a key that is derived from the one in Keys (HKDF-SHA256), and must stay the same: change it, and nothing that is
	// stored opens. Default: "", the keys themselves seal, which is right where no one else has them.
	Context string
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
		if likeKey(id) {
			wrong = append(wrong, errors.New("seal: the id of a key looks like a key itself, and is stored readable: give another id"))
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
		var err error
		if box.keys[id], err = sealing(key, config.Context); err != nil {
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

// sealing returns what seals with a key in a context.
func sealing(key []byte, context string) (cipher.AEAD, error) {
	if context != "" {
		var err error
		if key, err = hkdf.Key(sha256.New, key, nil, "onlyonce/idempotency/seal:"+context, KeySize); err != nil {
			return nil, err
		}
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
