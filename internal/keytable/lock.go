package keytable

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/onlyonce/onlyonce/idempotency"
)

// LockOf returns the advisory lock of a key: the first 64 bits, big-endian, of SHA-256 over a version, and over namespace,
// scope and key, each after its length in bytes as 32 bits. Every process, and every language, must come to the same number.
// Two keys of one number exclude each other for as long as one of them is processed, which costs a needless 409 and
// nothing else. Version 1 is a bigint lock; those and pairs of ints do not overlap in PostgreSQL.
func LockOf(namespace string, key idempotency.Key) int64 {
	return lock("onlyonce/key/1", namespace, key.Scope, key.Value)
}

// ReaperLock returns the advisory lock that keeps the reaper to one process.
func ReaperLock(namespace string) int64 {
	return lock("onlyonce/reaper/1", namespace)
}

func lock(parts ...string) int64 {
	input := make([]byte, 0, 1024) // room for the longest, on the stack
	for _, part := range parts {
		input = binary.BigEndian.AppendUint32(input, uint32(len(part)))
		input = append(input, part...)
	}
	sum := sha256.Sum256(input)
	return int64(binary.BigEndian.Uint64(sum[:8]))
}
