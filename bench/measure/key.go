package measure

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"time"
)

// RandomKey returns a key such as clients make most: a UUID of version 4.
func RandomKey() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return format(b)
}

// OrderedKey returns a UUID of version 7, by the clock's nanoseconds: keys in its order are put at the end of an index.
func OrderedKey() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	now := time.Now()
	binary.BigEndian.PutUint64(b[:8], uint64(now.UnixMilli())<<16|uint64(now.Nanosecond()%1e6)>>8)
	b[6], b[8] = b[6]&0x0f|0x70, b[8]&0x3f|0x80
	return format(b)
}

func format(b [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
