package growth

import (
	"encoding/hex"
	"fmt"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
)

// tenants is how many scopes the stored keys belong to.
const tenants = 1000

// columns are those that the store gives a completed record of a plain payment. The others have their defaults.
var columns = []string{"scope", "key", "state", "fingerprint", "status", "headers", "body", "created_at", "completed_at", "expires_at"}

// keyOf returns the n-th stored key, the same each time: a random UUID, of one of the tenants.
func keyOf(n int) idempotency.Key {
	return idempotency.Key{Scope: fmt.Sprintf("tenant-%04d", mix(uint64(n))%tenants), Value: uuid(mix(uint64(n)+1<<40), mix(uint64(n)+1<<41))}
}

// row returns the n-th record as the store would have written it, to expire at that time.
func row(n int, expires time.Time, fingerprint []byte) []any {
	key, response := keyOf(n), answer(int64(n))
	completed := expires.Add(-24 * time.Hour)
	return []any{key.Scope, key.Value, "completed", fingerprint, int16(response.Status), response.Header, response.Body, completed, completed, expires}
}

// fingerprintOf is of the request that every payment here is made by.
func fingerprintOf() idempotency.Fingerprint {
	var fingerprinter *idempotency.Fingerprinter
	return fingerprinter.Sum([]byte(`{"amount":100,"currency":"USD"}`), "POST", "/api/v1/payments", "", "application/json")
}

// mix is splitmix64's: every n gives another number, and the numbers look random.
func mix(n uint64) uint64 {
	n = (n + 0x9e3779b97f4a7c15)
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}

func uuid(high, low uint64) string {
	var b [16]byte
	for i := range 8 {
		b[i], b[8+i] = byte(high>>(56-8*i)), byte(low>>(56-8*i))
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	text := make([]byte, 36)
	hex.Encode(text, b[:4])
	hex.Encode(text[9:], b[4:6])
	hex.Encode(text[14:], b[6:8])
	hex.Encode(text[19:], b[8:10])
	hex.Encode(text[24:], b[10:])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return string(text)
}
