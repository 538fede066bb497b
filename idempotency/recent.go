package idempotency

import (
	"hash/maphash"
	"sync/atomic"
)

// recent remembers, as a hint, which keys this process lately saw completed. Such a key is read first, since a replay is
// then one plain SELECT; any other is claimed first, since a fresh key must not pay for a read. A wrong hint costs
// a read, never a wrong answer. It takes 64 KiB and no lock.
type recent struct {
	seed  maphash.Seed
	slots [8192]atomic.Uint64
}

func newRecent() *recent { return &recent{seed: maphash.MakeSeed()} }

func (r *recent) add(key Key) {
	sum := maphash.Comparable(r.seed, key)
	r.slots[sum%uint64(len(r.slots))].Store(sum)
}

func (r *recent) has(key Key) bool {
	sum := maphash.Comparable(r.seed, key)
	return r.slots[sum%uint64(len(r.slots))].Load() == sum
}
