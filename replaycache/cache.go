// Package replaycache holds completed records in memory, within a bound in bytes, so that a process answers the replays of what it
// has lately stored or read without asking the database.
//
//	cache, err := replaycache.New(replaycache.Config{})
//	engine, err := idempotency.New(store, idempotency.Config{Cache: cache})
//
// How long a record may answer is the engine's to say (idempotency.Config.CacheMaxAge), and it says so again whenever it is about to
// answer; what this package knows of time only makes room.
package replaycache

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/onlyonce/onlyonce/idempotency"
)

// Config configures a [Cache]. The zero value works; [New] copies it.
type Config struct {
	// MaxBytes bounds what is held: scopes, keys, headers and bodies, and [Overhead] bytes for each record. Once it is full, a record that
	// is asked for seldom gives way to others. It may be exceeded for a moment by what is being added. Default: 64 MiB. At least 4 KiB.
	MaxBytes int
	// MaxRecordBytes is the largest record that is held, counted in the same way; a larger one is asked for at the store every time.
	// Default: a 64th of MaxBytes. At most MaxBytes.
	MaxRecordBytes int
}

// Overhead is what a record is counted for beside its bytes: the entry in the table, its place in the queues, the headers of strings and
// slices.
const Overhead = 400

// Cache implements [idempotency.ReplayCache]. It starts no goroutine that stays: what cannot answer any more goes when others come,
// or by [Cache.Clear].
type Cache struct {
	held  *otter.Cache[idempotency.Key, *idempotency.CachedRecord]
	limit int
}

var _ idempotency.ReplayCache = (*Cache)(nil)

// New returns an empty Cache, or an error that says what is wrong with config.
func New(config Config) (*Cache, error) {
	if config.MaxBytes == 0 {
		config.MaxBytes = 64 << 20
	}
	if config.MaxBytes < 4<<10 {
		return nil, fmt.Errorf("replaycache: Config.MaxBytes is %d: give at least 4096, or 0 for the default", config.MaxBytes)
	}
	if config.MaxRecordBytes == 0 {
		config.MaxRecordBytes = max(config.MaxBytes/64, Overhead+1<<10)
	}
	if config.MaxRecordBytes < 0 || config.MaxRecordBytes > config.MaxBytes || config.MaxRecordBytes > math.MaxUint32 {
		return nil, errors.New("replaycache: Config.MaxRecordBytes is negative, or more than MaxBytes: give less, or 0 for the default")
	}
	held, err := otter.New(&otter.Options[idempotency.Key, *idempotency.CachedRecord]{
		MaximumWeight: uint64(config.MaxBytes),
		Weigher: func(key idempotency.Key, record *idempotency.CachedRecord) uint32 {
			return uint32(bytes(key, record))
		},
		ExpiryCalculator: otter.ExpiryWritingFunc(func(entry otter.Entry[idempotency.Key, *idempotency.CachedRecord]) time.Duration {
			return max(1, entry.Value.Left())
		}),
		Clock: withoutTicks{},
	})
	if err != nil {
		return nil, fmt.Errorf("replaycache: %w", err)
	}
	return &Cache{held: held, limit: config.MaxRecordBytes}, nil
}

func bytes(key idempotency.Key, record *idempotency.CachedRecord) int {
	return Overhead + len(key.Scope) + len(key.Value) + record.Bytes()
}

// Get returns the record that was added last under key, or nil if it is not held (any more).
func (c *Cache) Get(key idempotency.Key) *idempotency.CachedRecord {
	record, _ := c.held.GetIfPresent(key)
	return record
}

// Add holds record under key, in the place of what is there. [Cache.Get] returns it from then on, until it gives way. A record over
// Config.MaxRecordBytes is not held.
func (c *Cache) Add(key idempotency.Key, record *idempotency.CachedRecord) {
	if bytes(key, record) > c.limit {
		return
	}
	// A key may be a part of something larger, a header or a body, which would be held with it.
	key.Scope, key.Value = strings.Clone(key.Scope), strings.Clone(key.Value)
	c.held.Set(key, record)
}

// Remove forgets what is held under key, here and now: for who deletes a record by hand and does not want to wait for
// idempotency.Config.CacheMaxAge. A replay that has read the record before may add it again; other processes know nothing of it. A
// second call does nothing.
func (c *Cache) Remove(key idempotency.Key) { c.held.Invalidate(key) }

// Clear forgets everything, as Remove does.
func (c *Cache) Clear() { c.held.InvalidateAll() }

// Usage is what a [Cache] holds. What cannot answer any more is counted until it is gone.
type Usage struct {
	Records, Bytes int
}

// Usage returns what the cache holds, once it has done what it does behind its callers' backs. It takes a lock: for metrics, not for
// every request.
func (c *Cache) Usage() Usage {
	c.held.CleanUp()
	return Usage{Records: c.held.EstimatedSize(), Bytes: int(c.held.WeightedSize())}
}

// withoutTicks is a monotonic clock without the goroutine that would clean up once a second.
type withoutTicks struct{}

var start = time.Now()

func (withoutTicks) NowNano() int64                      { return int64(time.Since(start)) }
func (withoutTicks) Tick(time.Duration) <-chan time.Time { return nil }
