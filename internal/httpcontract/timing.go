package httpcontract

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/stretchr/testify/require"
)

// Timing is compared within one run: the answer for a key that mallory has against the answer for a key that nobody has, by turns and in
// random order, so that what slows the machine down slows both. margin is by how much their medians may differ, as two halves of the same
// kind do; a further statement on either side differs by several times as much.
const (
	rounds   = 150
	margin   = 0.08
	attempts = 12 // of which one must do, or two on different sides, since a machine may be busy
)

func anAnswersTimeTellsNothing(w *world) {
	w.inEachState(func(b *bank) {
		var ratios []string
		atLeast, atMost := false, false // as long as an equal one, by some attempt
		for range attempts {
			baseline, probed := b.compared()
			ratios = append(ratios, fmt.Sprintf("%.2f beside %.2f", probed, baseline))
			b.Logf("the medians' ratio is %.3f, and that of equals %.3f", probed, baseline)
			atLeast, atMost = atLeast || probed > 1/(1+margin), atMost || probed < 1+margin
			if atLeast && atMost { // what a key costs is always on one side
				return
			}
		}
		require.Fail(b, "the answers for another tenant's key take another time", "ratios of the medians, beside those of equals: %v", ratios)
	})
}

// compared measures answers to a tenant whose operations fail, so that a key can be tried again and again, and returns the ratio of the
// medians of two series of the same kind, and the ratio of mallory's key to those.
func (b *bank) compared() (baseline, probed float64) {
	b.Helper()
	keys := []string{"unknown-key", "unheard-key", guessed} // of one length
	times := make([][]float64, len(keys))
	for round := range rounds {
		for _, i := range rand.Perm(len(keys)) {
			began := time.Now()
			got := b.ask("prober", keys[i], "{}", "fail")
			took := time.Since(began)
			require.Equal(b, http.StatusServiceUnavailable, got.status, got.body)
			if round >= rounds/10 { // the first ones warm up
				times[i] = append(times[i], float64(took))
			}
		}
	}
	one, another := median(times[0]), median(times[1])
	return one / another, median(times[2]) / median(slices.Concat(times[0], times[1]))
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}
