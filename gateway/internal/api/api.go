// Package api holds what the service and its client call things on the wire.
package api

import (
	"encoding/hex"
	"strings"

	"github.com/onlyonce/onlyonce/idempotency"
)

// The endpoints. A key follows Response and a slash where it is read by GET.
const (
	RequestLocks = "/internal/api/request-locks"
	Response     = "/response"
	Claims       = "/v1/claims"
	Completions  = "/v1/completions"
	Releases     = "/v1/releases"
	Extensions   = "/v1/extensions"
	Lookups      = "/v1/lookups"
	OpenAPI      = "/openapi.yaml"
)

// The headers, and the parameter that asks for bodies in base64.
const (
	Scope        = "X-Idempotency-Scope"
	Fingerprint  = "X-Request-Fingerprint"
	BodyEncoding = "body_encoding"
	Base64       = "base64"
)

// The members of requests.
const (
	Key                = "idempotency_key"
	LockDuration       = "lock_duration"
	LockValue          = "lock_value"
	LockMetaData       = "lock_meta_data"
	RequestFingerprint = "request_fingerprint"
	ResponseMember     = "response"
	StatusCode         = "status_code"
	Headers            = "headers"
	Body               = "body"
	Retention          = "retention"
	Remember           = "remember"
)

// The outcomes of what succeeds.
const (
	Claimed   = "claimed"
	Completed = "completed"
	Stored    = "stored"
	Repeated  = "repeated" // the same response was stored before
	Released  = "released"
	Extended  = "extended"
)

// The codes of problems that are the service's own. All others are the library's, which have hyphens.
const (
	ConcurrentProcess   = "concurrent_process_error"
	AlreadyCompleted    = "already_completed"
	LockLost            = "lock_lost"
	FingerprintConflict = "fingerprint_conflict"
	KeyNotFound         = "idempotent_key_not_found"
	ScopeMissing        = "scope_missing"
	ScopeForbidden      = "scope_forbidden"
	Unauthorized        = "unauthorized"
	RequestInvalid      = "request_invalid"
	RouteUnknown        = "route_unknown"
	MethodNotAllowed    = "method_not_allowed"
)

const digest = "onlyonce-fingerprint:"

// FormatFingerprint writes a fingerprint that one of the library's own recipes has made, so that the service keeps it as it is: then
// gateways that go through the service and gateways that go to its database understand each other.
func FormatFingerprint(fingerprint idempotency.Fingerprint) string {
	return digest + hex.EncodeToString(fingerprint[:])
}

// ParseFingerprint reads what FormatFingerprint has written; ok is false for any other text.
func ParseFingerprint(text string) (fingerprint idempotency.Fingerprint, ok bool) {
	digits, ok := strings.CutPrefix(text, digest)
	if !ok || len(digits) != hex.EncodedLen(len(fingerprint)) {
		return idempotency.Fingerprint{}, false
	}
	if _, err := hex.Decode(fingerprint[:], []byte(digits)); err != nil {
		return idempotency.Fingerprint{}, false
	}
	return fingerprint, fingerprint != idempotency.Fingerprint{}
}
