package torture

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"

	"github.com/onlyonce/onlyonce/integration/history"
	"github.com/onlyonce/onlyonce/integration/torture/protocol"
)

// The accounts, and what each has in the beginning.
const (
	accounts  = 32
	merchants = 8
	opening   = 1_000_000_000
)

// key is an operation. Its number says all about it, so that every client asks for the same.
type key struct {
	number int64
	kind   history.Kind
	order  protocol.Order
}

func (k key) name() string { return k.order.Reference }

// otherwise is another request with the same key.
func (k key) otherwise() key {
	k.order.Amount++
	return k
}

// window is the keys that are in use: the newest is asked for most, by all clients, and the older ones less and less.
type window struct {
	work   Work
	seed   uint64
	newest atomic.Int64
}

const windowSize = 24

// pick draws the key of a client's next turn.
func (w *window) pick(random *rand.Rand) key {
	newest := w.newest.Load()
	if random.IntN(w.work.Spread) == 0 {
		newest = w.newest.Add(1)
	}
	back := int64(rand.NewZipf(random, 1.6, 1, windowSize).Uint64())
	return w.key(max(0, newest-back))
}

// early draws one from all that there ever were.
func (w *window) early(random *rand.Rand) key { return w.key(random.Int64N(w.newest.Load() + 1)) }

func (w *window) key(number int64) key {
	drawn := rand.New(rand.NewPCG(w.seed, uint64(number)+2))
	k := key{number: number}
	switch n := drawn.IntN(w.work.Payments + w.work.Refusals + w.work.Cards); {
	case n < w.work.Payments:
		k.kind = history.Payment
	case n < w.work.Payments+w.work.Refusals:
		k.kind = history.Refusal
	default:
		k.kind = history.Card
	}
	k.order = protocol.Order{
		Reference: fmt.Sprintf("%s-%d", k.kind, number),
		Account:   fmt.Sprintf("account-%d", drawn.IntN(accounts)),
		Merchant:  fmt.Sprintf("merchant-%d", drawn.IntN(merchants)),
		Amount:    1000 + 2*drawn.Int64N(4500), // even, so that one more is no other key's
	}
	return k
}
