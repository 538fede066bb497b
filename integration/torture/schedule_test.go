package torture

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func planned(t *testing.T, config Config) []Strike {
	t.Helper()
	config.Server = "any"
	config, err := config.withDefaults()
	require.NoError(t, err)
	return schedule(config)
}

func TestASeedStrikesAtTheSameTimesAndPlaces(t *testing.T) {
	t.Parallel()
	first := planned(t, Config{Seed: 7})
	assert.Equal(t, first, planned(t, Config{Seed: 7}))
	assert.NotEqual(t, first, planned(t, Config{Seed: 8}))
	assert.Greater(t, len(first), 200, "in two minutes")
	longer := planned(t, Config{Seed: 7, Duration: time.Hour})
	assert.Equal(t, first, longer[:len(first)], "a longer run begins like a short one")
}

func TestAShortRunHasEveryFault(t *testing.T) {
	t.Parallel()
	struck := map[string]int{}
	for _, s := range planned(t, Config{Seed: 7, Duration: 10 * time.Second}) {
		struck[s.Fault]++
	}
	for _, f := range faults() {
		if f.strike != nil {
			assert.Positive(t, struck[f.name], f.name)
		}
	}
}

func TestOnlyTheFaultsThatWereAskedForStrike(t *testing.T) {
	t.Parallel()
	for _, s := range planned(t, Config{Faults: []string{"kill", "restart", "vanish"}}) {
		assert.Contains(t, []string{"kill", "restart"}, s.Fault)
	}
	assert.Empty(t, planned(t, Config{Faults: []string{}}))
	assert.Empty(t, planned(t, Config{Faults: []string{"vanish"}}))
	rare := planned(t, Config{Faults: []string{"restart"}})
	assert.Greater(t, len(rare), 100, "where nothing else strikes, a rare one does in each round")
}

func TestASeedMeansTheSameKeys(t *testing.T) {
	t.Parallel()
	draw := func(seed uint64) (drawn []key) {
		w := &window{work: Work{}.withDefaults(), seed: seed}
		random := rand.New(rand.NewPCG(seed, 0))
		for range 1000 {
			drawn = append(drawn, w.pick(random))
		}
		return drawn
	}
	first := draw(7)
	assert.Equal(t, first, draw(7))
	assert.NotEqual(t, first, draw(8))

	times := map[int64]int{}
	for _, k := range first {
		times[k.number]++
		assert.NotEqual(t, k.order, k.otherwise().order)
		assert.Equal(t, k.name(), k.otherwise().name())
	}
	assert.InDelta(t, 4, float64(len(first))/float64(len(times)), 1.5, "turns that a key gets")
}

func TestAConfigurationThatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	for _, config := range []Config{
		{}, {Server: "x", Faults: []string{"flood"}}, {Server: "x", Duration: -1}, {Server: "x", Servers: -1}, {Server: "x", Pace: -1},
	} {
		_, err := config.withDefaults()
		assert.Error(t, err)
	}
}

func TestTheClocksOfACalmRunAreNoFault(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		faults []string
		calm   bool
	}{{nil, false}, {[]string{}, true}, {[]string{"vanish"}, true}, {[]string{"vanish", "kill"}, false}} {
		config, err := Config{Server: "x", Faults: c.faults}.withDefaults()
		require.NoError(t, err)
		assert.Equal(t, c.calm, config.calm())
		assert.Equal(t, c.calm, config.Lease == 10*time.Second)
	}
}
