package idempotency

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// ForeignKey returns the key that [Foreign] hands to the step of this name: 36 characters in the form of a UUID (version 8, RFC
// 9562), made of the SHA-256 of scope, idempotency key and point. It is the same on every attempt, in every process, and in every
// version of this library.
//
// Providers take it as it is: Stripe's Idempotency-Key (up to 255 characters), Adyen's (up to 64, a UUID recommended), PayPal's
// PayPal-Request-Id (a UUID in its documentation's example). They forget keys, Stripe after 24 hours at the earliest: an attempt later than
// that must look the effect up ([ForeignReconciled]).
func ForeignKey(key Key, point string) string {
	input := make([]byte, 0, 512)
	for _, part := range []string{"onlyonce/foreign/1", key.Scope, key.Value, point} {
		input = binary.BigEndian.AppendUint32(input, uint32(len(part)))
		input = append(input, part...)
	}
	id := sha256.Sum256(input)
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:16])
}
