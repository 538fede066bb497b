package psp

import (
	"math/rand/v2"
	"sync"
)

// luck decides which requests fail at random.
type luck struct {
	rate float64
	mu   sync.Mutex
	rand *rand.Rand
}

func newLuck(rate float64, seed uint64) *luck {
	return &luck{rate: rate, rand: rand.New(rand.NewPCG(seed, 0))}
}

var randomFaults = []fault{fail500Before, fail500After, dropBefore, dropAfter}

// draw reports whether this request fails, and by what.
func (l *luck) draw() (fault, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rand.Float64() >= l.rate {
		return noFault, false
	}
	return randomFaults[l.rand.IntN(len(randomFaults))], true
}
