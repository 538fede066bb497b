package torture

import (
	"math/rand/v2"
	"slices"
	"time"
)

// Strike is a fault at its time. All that it needs to decide was drawn when it was scheduled.
type Strike struct {
	At     time.Duration
	Fault  string
	Server int
	// Length says how long it takes, from 0, short, to 1, long.
	Length float64
	// Nth is how many chances it lets pass.
	Nth int
	// Coin decides the rest.
	Coin uint64
}

// length is between these two.
func (s Strike) length(from, to time.Duration) time.Duration {
	return from + time.Duration(s.Length*float64(to-from))
}

// schedule draws when and where the faults strike. Each strikes once in a round, in an order that is drawn, so that a short run has
// all of them; rare ones in each third round.
func schedule(config Config) []Strike {
	random := rand.New(rand.NewPCG(config.Seed, 1))
	var often, all []fault
	for _, f := range faults() {
		if f.strike == nil || !slices.Contains(config.Faults, f.name) {
			continue
		}
		all = append(all, f)
		if !f.rare {
			often = append(often, f)
		}
	}
	if len(often) == 0 {
		often = all
	}
	var strikes []Strike
	for round, at := 0, time.Duration(0); len(all) > 0; round++ {
		turn := slices.Clone(often)
		if round%3 == 0 {
			turn = slices.Clone(all)
		}
		random.Shuffle(len(turn), func(i, j int) { turn[i], turn[j] = turn[j], turn[i] })
		for _, f := range turn {
			at += config.Pace/2 + time.Duration(random.Int64N(int64(config.Pace)))
			if at >= config.Duration {
				return strikes
			}
			strikes = append(strikes, Strike{
				At: at, Fault: f.name, Server: random.IntN(config.Servers), Length: random.Float64(), Nth: random.IntN(6), Coin: random.Uint64(),
			})
		}
	}
	return strikes
}
