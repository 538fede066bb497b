package idempotency

import (
	"errors"
	"fmt"
	"time"
)

// Config configures an [Engine]. The zero value works; [New] copies it.
type Config struct {
	// Policy decides what a handler's outcome means. Default: [DefaultPolicy].
	Policy Policy
	// Observer is told what happens. Default: nobody is.
	Observer Observer
	// Retention is how long a completed key is kept, counted from its completion. After it, the same key is a new
	// operation. Default: 24 hours, as with Stripe. At least 1 second.
	Retention time.Duration
	// Wait is how long a request waits for another one with the same key that is being processed, before it is told
	// [ErrInProgress]. Waiting holds no connection to the store. Default: 0, it is told at once.
	Wait time.Duration
	// HandlerTimeout bounds the handler's context, which does not end when the client goes away. Default: 30 seconds.
	HandlerTimeout time.Duration
	// MaxResponseBytes is the largest body that is stored, of a refusal too, and the largest result of a step. A larger body rolls the
	// operation back with [ErrResponseTooLarge]. Default: 1 MiB.
	MaxResponseBytes int
	// MaxResponseHeaderBytes is the largest size of the response headers that are stored: those that a replay repeats, as
	// "Name: value" with a line break each. More of them roll the operation back with [ErrResponseTooLarge]. Default: 16 KiB.
	MaxResponseHeaderBytes int
	// MaxWaiters is how many requests of this Engine may wait at a time for another one with their key: until a claim that is
	// under way is answered, or, with Wait, until the other one is done. Further ones that would have to wait are told [ErrInProgress]
	// at once, whichever their key: also the duplicate of a completed key that comes while another one asks the store for it, and
	// would be replayed an instant later. A request that is alone with its key does not wait and is not affected. Each that waits
	// holds a goroutine, its client's connection and its body, and none of the store's connections. Default: 16384, room for a herd
	// of ten thousand duplicates.
	MaxWaiters int
	// MaxPendingPerScope is how many operations of one scope may be unfinished at a time, so that one tenant cannot take all of the
	// store's connections, or fill the table with what it leaves behind. It counts twice: the operations of the scope that this Engine
	// runs, exactly, each Engine of a process its own; and, when a key is about to get its first recovery point, the scope's keys that
	// have one, in all processes, given-up ones too, which those that begin at the same moment may exceed by their number. Beyond it a
	// new operation is told [ErrTooManyPending], and nothing of it takes effect. Replays, keys that are pending already, and with them the completer,
	// are never turned away. Requests without a key are not counted.
	//
	// Choose it below the size of the store's pool, since each running operation may hold a connection: a quarter of it leaves room for
	// other tenants. With recovery points it costs one round trip for each new key. Default: 0, no limit.
	MaxPendingPerScope int
	// Reruns is how often the handler is run again, with the same request, when the database ended its transaction
	// because of another one (serialization failure, deadlock). Default: 0, the client gets [ErrTransactionConflict] and
	// retries itself.
	Reruns int
	// Lease is for how long a key with a recovery point belongs to an attempt after its last sign of life. It is renewed while a
	// foreign call runs ([Foreign]); once it is over, a retry or the completer takes over. Shorter means a faster recovery
	// from a crash, longer more patience with a database that is slow to answer. Default: 15 seconds. At least 10 milliseconds.
	Lease time.Duration
	// Codec stores the results of steps. Default: encoding/json.
	Codec Codec
	// Sealer seals what is stored of requests, responses and the results of steps. The store then holds of a handler's error nothing but
	// its code and its SQLSTATE. What does not open is answered with [ErrRecordUnreadable], and not run again. Default: nothing is sealed.
	Sealer Sealer
	// Sealing says what to do about records that are not sealed, while a service that is in use begins to seal or ends it.
	// Default: [SealedOnly].
	Sealing Sealing
	// Cache answers replays in this process, without asking the store: see package replaycache. One cache is for one Engine: a record of
	// another one's is not used. It holds what Sealer seals as it was before, since that is what it answers with. Default: nil, the
	// store is asked every time.
	Cache ReplayCache
	// CacheMaxAge is for how long, from when the store was asked, Cache may answer with a record, which it never does beyond the record's
	// retention. It bounds how long a process goes on with an answer whose record was deleted, changed or lost: by an operator, or in a
	// failover to a standby that did not have it, while other processes run the operation anew. Default: 10 seconds. At least 1
	// millisecond, at most 1 hour.
	CacheMaxAge time.Duration
	// RequireTransactional has [New] fail where the store cannot keep a handler's writes and its response together ([Transactional]), so that
	// no other store is put in its place unnoticed. Default: false, any store will do.
	RequireTransactional bool
	// ReapInterval is the time between two passes of [Engine.Maintain]; one that has more to do goes on into the next. Default: 1 minute.
	ReapInterval time.Duration
	// ReapBatch is how many records one statement of the reaper deletes. Default: 1000.
	ReapBatch int
}

func (c Config) withDefaults() (Config, error) {
	var wrong []error
	for _, setting := range []struct {
		name  string
		value *time.Duration
		min   time.Duration
		def   time.Duration
	}{
		{"Retention", &c.Retention, time.Second, 24 * time.Hour},
		{"Wait", &c.Wait, 0, 0},
		{"HandlerTimeout", &c.HandlerTimeout, time.Millisecond, 30 * time.Second},
		{"Lease", &c.Lease, 10 * time.Millisecond, 15 * time.Second},
		{"ReapInterval", &c.ReapInterval, time.Millisecond, time.Minute},
	} {
		if *setting.value == 0 {
			*setting.value = setting.def
		}
		if *setting.value < setting.min {
			wrong = append(wrong, fmt.Errorf("idempotency: Config.%s is %v: give at least %v, or 0 for the default", setting.name, *setting.value, setting.min))
		}
	}
	for _, setting := range []struct {
		name  string
		value *int
		def   int
	}{
		{"MaxResponseBytes", &c.MaxResponseBytes, 1 << 20},
		{"MaxResponseHeaderBytes", &c.MaxResponseHeaderBytes, 16 << 10},
		{"MaxWaiters", &c.MaxWaiters, 1 << 14},
		{"MaxPendingPerScope", &c.MaxPendingPerScope, 0},
		{"Reruns", &c.Reruns, 0},
		{"ReapBatch", &c.ReapBatch, 1000},
	} {
		if *setting.value == 0 {
			*setting.value = setting.def
		}
		if *setting.value < 0 {
			wrong = append(wrong, fmt.Errorf("idempotency: Config.%s is %d: give a positive number, or 0 for the default", setting.name, *setting.value))
		}
	}
	wrong = append(wrong, checkSealing(c), c.checkCache())
	if c.Policy == nil {
		c.Policy = DefaultPolicy
	}
	if c.Codec == nil {
		c.Codec = jsonCodec{}
	}
	if c.Observer == nil {
		c.Observer = discard
	}
	return c, errors.Join(wrong...)
}

func (c *Config) checkCache() error {
	const most = time.Hour
	switch {
	case c.Cache == nil && c.CacheMaxAge != 0:
		return errors.New("idempotency: Config.CacheMaxAge is set, and Config.Cache is not: set that too, see package replaycache")
	case c.CacheMaxAge == 0:
		c.CacheMaxAge = 10 * time.Second
	case c.CacheMaxAge < time.Millisecond || c.CacheMaxAge > most:
		return fmt.Errorf("idempotency: Config.CacheMaxAge is %v: give 1ms to %v, or 0 for the default", c.CacheMaxAge, most)
	}
	return nil
}
