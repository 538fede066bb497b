package ledger

import (
	"crypto/rand"
	"encoding/hex"
	"time"
)

// newPaymentID returns a UUIDv7 (RFC 9562): 48 bits of milliseconds, then 74 random ones. Ids made later sort later, so the
// index grows at its end and pages come newest first without a second column.
func newPaymentID() string {
	var id [16]byte
	rand.Read(id[:])
	now := uint64(time.Now().UnixMilli())
	for i := range 6 {
		id[i] = byte(now >> (40 - 8*i))
	}
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return formatUUID(id)
}

func formatUUID(id [16]byte) string {
	text := hex.EncodeToString(id[:])
	return text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:]
}

// parseUUID accepts the canonical form alone: one payment has one address.
func parseUUID(text string) (id [16]byte, ok bool) {
	if len(text) != 36 {
		return id, false
	}
	digits := text[:8] + text[9:13] + text[14:18] + text[19:23] + text[24:]
	if _, err := hex.Decode(id[:], []byte(digits)); err != nil {
		return id, false
	}
	return id, formatUUID(id) == text
}
