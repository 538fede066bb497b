package service

import (
	"github.com/onlyonce/onlyonce/gateway/internal/api"
	"github.com/onlyonce/onlyonce/idempotency"
)

const longestFingerprint = 255

// identity returns what tells the request from others with its key: a digest of the caller's fingerprint, which may be any text. One that the library
// itself has made is kept as it is. "" compares nothing.
func (s *service) identity(text string) (idempotency.Identity, error) {
	if text == "" {
		return idempotency.Identity{}, nil
	}
	if len(text) > longestFingerprint {
		return idempotency.Identity{}, invalid("The fingerprint must have 1 to 255 bytes: send a digest of what makes the request what it is.")
	}
	if fingerprint, ok := api.ParseFingerprint(text); ok {
		return idempotency.Identity{Fingerprint: fingerprint}, nil
	}
	body := []byte(text)
	return idempotency.Identity{
		Fingerprint: s.config.Fingerprinter.Sum(body),
		Matches:     func(stored idempotency.Fingerprint) bool { return s.config.Fingerprinter.Matches(stored, body) },
	}, nil
}

// identity returns what the member says, which may be missing unless it is required.
func (m members) identity(s *service, required bool) (idempotency.Identity, error) {
	text, err := m.text(api.RequestFingerprint)
	if err == nil && text == "" && (required || m[api.RequestFingerprint] != nil) {
		err = invalid(api.RequestFingerprint + " must have 1 to 255 bytes: send a digest of what makes the request what it is.")
	}
	if err != nil {
		return idempotency.Identity{}, err
	}
	return s.identity(text)
}
