// Package contender has the ways to make a payment idempotent that are compared, each in a file of its own and written as its
// own documentation has it.
package contender

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/onlyonce/onlyonce/bench/payment"
)

// ErrBusy says that a request with this key is under way: a client sends it again later.
var ErrBusy = errors.New("contender: a request with this key is under way")

// Contender answers requests for payments. It is safe for concurrent use.
type Contender interface {
	// Pay answers the request with this key by its body: by making the payment, or by what was answered before.
	Pay(ctx context.Context, key string) ([]byte, error)
	// Close ends what Open has begun, and no more: neither the pool nor Redis.
	Close()
}

// Place is where a contender works. All of a comparison share it.
type Place struct {
	// Pool has as many connections as there are workers; Schema is first on its search_path.
	Pool *pgxpool.Pool
	// NewPool opens a further pool like it, of this many connections, for a contender that keeps connections for itself.
	NewPool func(ctx context.Context, connections int) (*pgxpool.Pool, error)
	Schema  string
	// Redis is nil where there is none.
	Redis *redis.Client
	// Workers is how many requests come at a time.
	Workers int
	// Payments makes them.
	Payments *payment.Maker
	// Process tells the processes apart that work at the same place.
	Process string
	// Wait is how long a duplicate may wait for the first, where the contender can do that.
	Wait time.Duration
	// Stale is after how long a payment that has not ended is taken for dead, where the contender goes by the clock.
	Stale time.Duration
}

// Kind is a contender, not yet at work.
type Kind struct {
	// Name is what -contenders takes.
	Name string
	// Says is one line: what it is, and how a duplicate is kept away.
	Says string
	// Module is the module that does the work, whose version is told; empty where it is written here.
	Module string
	// Tables are its own, in SQL.
	Tables string
	Redis  bool
	// Replays says that a second request is answered as the first was.
	Replays bool
	// KillsOnly says that its speed is that of another one.
	KillsOnly bool
	// Wal says that it keeps its state in PostgreSQL.
	Wal  bool
	Open func(ctx context.Context, place Place) (Contender, error)
}

// Baseline is what all others are divided by.
const Baseline = "plain"

// Kinds are all contenders, the baseline first. A further one is a line here.
var Kinds = []Kind{plain, onlyonce, onlyonceHTTP, onlyonceCache, byHand, setNX, fiberRedis, pending, pendingTakeOver, dbosTransact}

// Find returns the contender of that name.
func Find(name string) (Kind, bool) {
	for _, kind := range append(Kinds[:len(Kinds):len(Kinds)], nothing) {
		if kind.Name == name {
			return kind, true
		}
	}
	return Kind{}, false
}

// retention is how long an answer is kept, by all contenders that can be told.
const retention = 24 * time.Hour
