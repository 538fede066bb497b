package idempotency

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"sync"
	"unicode/utf8"
)

// FingerprintSize is the length of a fingerprint in bytes: a version and a SHA-256 digest.
const FingerprintSize = 1 + sha256.Size

// Fingerprint tells two requests apart that carry the same key. Its first byte is the version of the recipe it was
// made by; the rest is the digest. The zero Fingerprint is that of requests which are not told apart.
type Fingerprint [FingerprintSize]byte

// The versions. A digest of one recipe never equals one of another.
const (
	versionPlain byte = 1 + iota
	versionCanonical
	versionHMAC
	versionCanonicalHMAC
)

// Equal compares in constant time.
func (f Fingerprint) Equal(other Fingerprint) bool {
	return subtle.ConstantTimeCompare(f[:], other[:]) == 1
}

// ParseFingerprint reads a fingerprint that a store kept.
func ParseFingerprint(stored []byte) (Fingerprint, error) {
	var f Fingerprint
	if len(stored) != len(f) {
		return f, fmt.Errorf("a stored fingerprint has %d bytes, want %d", len(stored), len(f))
	}
	copy(f[:], stored)
	return f, nil
}

// Fingerprinter makes fingerprints. The zero value, and nil, use plain SHA-256. It is safe for concurrent use.
type Fingerprinter struct {
	secrets   []*sync.Pool // of hashers, one pool for each secret
	canonical bool
}

// FingerprintConfig configures a [Fingerprinter].
type FingerprintConfig struct {
	// Secrets turn the digest into an HMAC, so that whoever reads the table cannot guess a body by hashing
	// candidates. The first one signs; all of them verify, so that a secret is rotated by putting the new one in
	// front and dropping the old one when the retention has passed. Each must have at least 16 bytes.
	Secrets [][]byte
	// CanonicalJSON takes bodies that differ in white space or in the order of members only for the same request.
	// A body that is not one JSON value, or that decoders may take differently (a member that is named twice, be it in another
	// case; text that is not Unicode), is compared byte by byte, as without this option.
	CanonicalJSON bool
}

// NewFingerprinter returns a Fingerprinter, or an error that says which secret is too short.
func NewFingerprinter(cfg FingerprintConfig) (*Fingerprinter, error) {
	f := &Fingerprinter{canonical: cfg.CanonicalJSON}
	for i, secret := range cfg.Secrets {
		if len(secret) < 16 {
			return nil, fmt.Errorf("idempotency: fingerprint secret %d has %d bytes: use at least 16 random bytes", i, len(secret))
		}
		secret = bytes.Clone(secret)
		f.secrets = append(f.secrets, &sync.Pool{New: func() any { return &hasher{Hash: hmac.New(sha256.New, secret)} }})
	}
	return f, nil
}

// Sum returns the fingerprint of a body and of the other parts that make a request what it is. Each part goes in with its
// length, so that no two lists of parts give the same input.
func (f *Fingerprinter) Sum(body []byte, parts ...string) Fingerprint {
	version := versionPlain
	digests := &hashers
	if f != nil {
		if f.canonical {
			version = versionCanonical
		}
		if len(f.secrets) > 0 {
			version += versionHMAC - versionPlain
			digests = f.secrets[0]
		}
	}
	return sum(version, digests, body, parts)
}

// Matches reports whether stored was made of the same body and parts, by any recipe that f knows: an earlier version, or
// an earlier secret. It lets the recipe change while keys are alive.
func (f *Fingerprinter) Matches(stored Fingerprint, body []byte, parts ...string) bool {
	switch version := stored[0]; version {
	case versionPlain, versionCanonical:
		return stored.Equal(sum(version, &hashers, body, parts))
	case versionHMAC, versionCanonicalHMAC:
		if f == nil {
			return false
		}
		for _, secret := range f.secrets {
			if stored.Equal(sum(version, secret, body, parts)) {
				return true
			}
		}
	}
	return false
}

type hasher struct {
	hash.Hash
	scratch []byte
}

var hashers = sync.Pool{New: func() any { return &hasher{Hash: sha256.New()} }}

func sum(version byte, digests *sync.Pool, body []byte, parts []string) (f Fingerprint) {
	if version == versionCanonical || version == versionCanonicalHMAC {
		body = canonicalJSON(body)
	}
	h := digests.Get().(*hasher)
	defer digests.Put(h)
	digest := h.Hash
	digest.Reset()

	b := append(h.scratch[:0], version)
	b = binary.BigEndian.AppendUint32(b, uint32(len(parts)))
	for _, part := range parts {
		b = binary.BigEndian.AppendUint64(b, uint64(len(part)))
		b = append(b, part...)
	}
	b = binary.BigEndian.AppendUint64(b, uint64(len(body)))
	digest.Write(b)
	digest.Write(body)
	b = digest.Sum(append(b[:0], version))
	copy(f[:], b)
	h.scratch = b
	return f
}

// canonicalJSON returns body with its members sorted and white space gone, or body itself where it is not exactly one
// JSON value. Numbers keep their spelling: 1 and 1.0 stay different, as nothing says that a handler takes them alike.
func canonicalJSON(body []byte) []byte {
	if !unambiguous(body) {
		return body
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return body
	}
	canonical, err := json.Marshal(value)
	if err != nil {
		return body
	}
	return canonical
}

// unambiguous reports whether body is one JSON value that every decoder takes alike. Where an object names a member twice they
// disagree on which of the two counts; encoding/json takes names that differ in case for one, and the last of them counts.
// What is not Unicode, a lone surrogate as well, becomes U+FFFD, so that a string with one of these may have been any other.
func unambiguous(body []byte) bool {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	type level struct {
		seen map[string]bool // nil in an array
		name bool            // the next token is a member's name
	}
	var levels []level
	for tokens := 0; ; tokens++ {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return tokens > 0 && len(levels) == 0
		}
		if err != nil || (tokens > 0 && len(levels) == 0) {
			return false
		}
		text, isText := token.(string)
		if isText && strings.ContainsRune(text, utf8.RuneError) {
			return false
		}
		if top := len(levels) - 1; top >= 0 && levels[top].seen != nil {
			if isText && levels[top].name {
				name := strings.ToLower(strings.ToUpper(text)) // ToLower alone leaves ſ, which is an s
				if levels[top].seen[name] {
					return false
				}
				levels[top].seen[name] = true
				levels[top].name = false
				continue
			}
			levels[top].name = true
		}
		switch token {
		case json.Delim('{'):
			levels = append(levels, level{seen: map[string]bool{}, name: true})
		case json.Delim('['):
			levels = append(levels, level{})
		case json.Delim('}'), json.Delim(']'):
			levels = levels[:len(levels)-1]
		}
	}
}
