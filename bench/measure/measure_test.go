package measure_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/onlyonce/onlyonce/bench/measure"
)

func TestTheMedianIsTheMiddle(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got := measure.Median(c.values); got != c.want {
			t.Errorf("of %v: %v", c.values, got)
		}
	}
	values := []float64{3, 1, 2}
	measure.Median(values)
	if !slices.Equal(values, []float64{3, 1, 2}) {
		t.Error("the values were put in order")
	}
}

func TestAQuantileHasItsShareBelowIt(t *testing.T) {
	var values []float64
	for i := range 200 {
		values = append(values, float64(199-i))
	}
	for q, want := range map[float64]float64{0: 0, 0.5: 100, 0.99: 198, 1: 199} {
		if got := measure.Quantile(values, q); got != want {
			t.Errorf("%v: %v", q, got)
		}
	}
	if measure.Quantile([]float64(nil), 0.5) != 0 {
		t.Error("of none")
	}
}

// The median of ratios is not the ratio of medians: a machine that is slow for a round is slow for both.
func TestRatiosAreOfTheSameRound(t *testing.T) {
	plain, mine := []float64{100, 10, 1000}, []float64{90, 8, 950}
	ratios := measure.Ratios(mine, plain)
	if !slices.Equal(ratios, []float64{0.9, 0.8, 0.95}) || measure.Median(ratios) != 0.9 {
		t.Error(ratios)
	}
	if got := measure.Ratios([]float64{1, 2}, []float64{0, 4}); !slices.Equal(got, []float64{0.5}) {
		t.Error(got)
	}
}

func TestTurnsRotateAndTheFirstRoundDoesNotCount(t *testing.T) {
	var order []int
	var lengths []time.Duration
	turns := make([]measure.Turn, 3)
	for who := range turns {
		turns[who] = func(_ context.Context, length time.Duration) (measure.Round, error) {
			order, lengths = append(order, who), append(lengths, length)
			return measure.Round{PerSecond: float64(len(order)), P99: float64(who)}, nil
		}
	}
	done := 0
	rounds, err := measure.Interleave(t.Context(), 2, time.Second, turns, func() { done++ })
	if err != nil || done != 9 {
		t.Fatal(err, done)
	}
	if !slices.Equal(order, []int{0, 1, 2, 1, 2, 0, 2, 0, 1}) {
		t.Errorf("order %v", order)
	}
	if lengths[0] != time.Second/2 || lengths[3] != time.Second {
		t.Errorf("lengths %v", lengths)
	}
	if got := measure.PerSecond(rounds[1]); !slices.Equal(got, []float64{4, 9}) {
		t.Errorf("rounds %v", got)
	}
	if got := measure.P99s(rounds[2]); !slices.Equal(got, []float64{2, 2}) {
		t.Errorf("rounds %v", got)
	}
}

func TestTheFirstErrorEndsTheRound(t *testing.T) {
	broken := errors.New("broken")
	began := time.Now()
	_, err := measure.Work(t.Context(), 4, time.Minute, func(context.Context) error { return broken })
	if !errors.Is(err, broken) || time.Since(began) > 30*time.Second {
		t.Fatal(err, time.Since(began))
	}
}

func TestWorkCountsWhatItDid(t *testing.T) {
	calls := make(chan struct{}, 1_000_000)
	round, err := measure.Work(t.Context(), 2, 20*time.Millisecond, func(context.Context) error {
		calls <- struct{}{}
		<-time.After(time.Millisecond)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if round.PerSecond <= 0 || round.PerSecond > 2000 || round.P50 < 1 || round.P99 < round.P50 {
		t.Errorf("%+v of %d calls", round, len(calls))
	}
}

func TestAnInterruptedRoundIsNoRound(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	_, err := measure.Work(ctx, 1, time.Minute, func(context.Context) error {
		interrupt()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestOrderedKeysAreInOrderAndRandomOnesAreNot(t *testing.T) {
	var ordered, random []string
	for range 50 {
		ordered, random = append(ordered, measure.OrderedKey()), append(random, measure.RandomKey())
		for later := time.Now().Add(time.Microsecond); time.Now().Before(later); {
		}
	}
	if !slices.IsSorted(ordered) || slices.IsSorted(random) || len(ordered[0]) != 36 || len(random[0]) != 36 {
		t.Errorf("%v\n%v", ordered, random)
	}
}
