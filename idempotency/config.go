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
	// MaxResponseBytes is the largest body that is stored. A larger one rolls the operation back with
	// [ErrResponseTooLarge]. Default: 1 MiB.
	MaxResponseBytes int
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
	// ReapInterval is the time between two passes of [Engine.Maintain]. Default: 1 minute.
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
