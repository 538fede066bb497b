package redisstore

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"sync"

	"github.com/onlyonce/onlyonce/idempotency"
)

// A key's hash, the index of pending keys that it may be in, and the count of its scope's pending keys change together, in one script. In a
// cluster that takes one hash slot for the three. So keys are spread over buckets, each with an index and counts of its own, and
// everything of a bucket has the bucket's tag in its name: {tag}.
//
// How many buckets there are, and their tags, must never change: keys would be looked for where they are not.
const buckets = 256

// slotsOfBucket is how many of Redis Cluster's 16384 slots there are to a bucket. Its tag is of one of them, so that nodes with equal shares of
// the slots have equal shares of the buckets.
const slotsOfBucket = 16384 / buckets

// tags are those of the buckets: for each the least number whose digits hash to one of its slots.
var tags = sync.OnceValue(func() (tags [buckets]string) {
	for number, missing := 0, buckets; missing > 0; number++ {
		tag := strconv.Itoa(number)
		if of := slot(tag) / slotsOfBucket; tags[of] == "" {
			tags[of] = tag
			missing--
		}
	}
	return tags
})

// slot is Redis Cluster's hash slot of a tag: its CRC16, of the kind called XMODEM.
func slot(tag string) int {
	var crc uint16
	for i := range len(tag) {
		crc ^= uint16(tag[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc % 16384)
}

// bucket is the names that a bucket's keys share.
type bucket struct {
	rows   string // begins the names of the hashes of its keys
	index  string // a sorted set of its pending keys, by the end of their leases
	counts string // a hash: how many pending keys each scope has there
}

func (s *Store) bucket(n int) bucket {
	rows := s.config.Prefix + ":{" + tags()[n] + "}:"
	return bucket{rows: rows, index: rows + "pending", counts: rows + "scopes"}
}

// place is where the store keeps a key.
type place struct {
	bucket
	row    string
	member string // the row's name behind that of the bucket, in the index
}

// keys are what a script gets as KEYS where the key is pending, or about to be. alone is enough for the others, and while a cluster moves the
// slot to another node such a script is always sent on to where the hash is: one with several keys waits until all of them are at one node.
func (p *place) keys() []string  { return []string{p.row, p.index, p.counts} }
func (p *place) alone() []string { return []string{p.row} }

// place is made of a digest, in which no two pairs of scope and value are alike, and nothing is left of what a client could write into its
// key: a brace, which would change the slot, or a secret, which would be read in the names.
func (s *Store) place(key idempotency.Key) place {
	input := make([]byte, 0, 600)
	for _, part := range []string{"onlyonce/redis/1", key.Scope, key.Value} {
		input = binary.BigEndian.AppendUint32(input, uint32(len(part)))
		input = append(input, part...)
	}
	sum := sha256.Sum256(input)
	p := place{bucket: s.bucket(int(sum[0])), member: base64.RawURLEncoding.EncodeToString(sum[:])}
	p.row = p.rows + p.member
	return p
}

// Name returns the name of the Redis hash that holds key: for operators who want to look at it. To delete it is to have the operation run
// again.
func (s *Store) Name(key idempotency.Key) string { return s.place(key).row }

const tokenBytes = 16 // in the scripts, too

// token returns a value that nobody else can come by.
func token() string {
	random := make([]byte, tokenBytes)
	_, _ = rand.Read(random) // it never fails
	return string(random)
}
