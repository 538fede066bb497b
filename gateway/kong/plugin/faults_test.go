package plugin_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/gateway/kong/internal/kongtest"
	"github.com/onlyonce/onlyonce/gateway/kong/plugin"
)

// downIn has the store out of reach from this phase on.
func (w *world) downIn(phase string) {
	w.BeforePhase = func(at string) {
		if at == phase {
			w.store.down.Store(true)
		}
	}
}

func TestWithoutTheStoreNothingIsPassedOn(t *testing.T) {
	t.Parallel()
	w := begin(t, &plugin.Config{})
	w.store.down.Store(true)
	got := w.do(payment())
	wantProblem(t, got, 503, "store-unavailable")
	assert.Equal(t, []string{"1"}, got.Client.Header["retry-after"])
	assert.Equal(t, free, w.state(k1))
}

func TestAClaimWhoseReplyWasLostIsGivenBack(t *testing.T) {
	t.Parallel()
	w := begin(t, &plugin.Config{})
	w.store.lost.Store(true)
	w.BeforePhase = func(phase string) {
		if phase == "log" {
			assert.Equal(t, pending, w.state(k1), "the claim has reached the store")
		}
	}
	wantProblem(t, w.do(payment()), 503, "store-unavailable")
	assert.Equal(t, free, w.state(k1), "a request that the service did not get holds its key")
}

func TestAnAnswerThatCannotBeStoredGoesToTheClientAndHoldsTheKey(t *testing.T) {
	t.Parallel()
	w := begin(t, &plugin.Config{Unknown: "release"})
	w.BeforePhase = func(phase string) { w.store.down.Store(phase == "response") } // and back in Log, which could free the key
	got := w.do(payment())
	assert.Equal(t, 201, got.Client.Status)
	assert.Contains(t, strings.Join(w.Logged(), "\n"), "err: the service's answer cannot be stored")
	assert.Equal(t, pending, w.state(k1), "the service has done it: the key must not be free")
	w.leaseEnds()
	assert.True(t, w.do(payment()).Passed, "the key is stuck past its lease")
}

func TestAKeyIsNotFreedAfterAnAnswerThatAnotherPluginHasReplaced(t *testing.T) {
	t.Parallel()
	w := begin(t, &plugin.Config{Unknown: "release"})
	w.ReplacedBy = &kongtest.Answer{Status: 502}
	w.BeforePhase = func(phase string) { w.store.down.Store(phase == "response") }
	assert.Equal(t, 502, w.do(payment()).Client.Status)
	assert.Equal(t, pending, w.state(k1), "the service has done it, whatever the client was told")
}

func TestAnAnswerIsStoredByAStoreThatComesBackInTime(t *testing.T) {
	t.Parallel()
	w := begin(t, &plugin.Config{})
	w.downIn("response")
	w.store.settling = func() { w.store.down.Store(false) }
	first := w.do(payment())
	wantReplay(t, w.do(payment()), first.Client)
}

func TestAKeyThatCouldNotBeFreedInResponseIsFreedInLog(t *testing.T) {
	t.Parallel()
	w := begin(t, &plugin.Config{})
	w.answering(503)
	w.BeforePhase = func(phase string) { w.store.down.Store(phase == "response") }
	assert.Equal(t, 503, w.do(payment()).Client.Status)
	assert.Equal(t, free, w.state(k1))
}

func TestWithoutTheStoreInLogTheLeaseDecides(t *testing.T) {
	t.Parallel()
	w := begin(t, &plugin.Config{Unknown: "release"})
	w.downIn("log")
	w.Do(t, payment(), kongtest.Refuses)
	assert.Equal(t, pending, w.state(k1))
	assert.Contains(t, strings.Join(w.Logged(), "\n"), "err: a key was not freed, and is left to its lease")
	w.store.down.Store(false)
	w.BeforePhase = nil
	w.leaseEnds()
	assert.True(t, w.do(payment()).Passed)
}

func TestADefectFailsClosedAndHarmsNobodyElse(t *testing.T) {
	t.Parallel()
	for _, phase := range []string{"access", "response", "log"} {
		t.Run(phase, func(t *testing.T) {
			t.Parallel()
			w := begin(t, &plugin.Config{Unknown: "release"})
			w.BeforePhase = func(at string) { w.store.panic.Store(at == phase) }
			switch phase {
			case "access":
				wantProblem(t, w.do(payment()), 500, "internal")
				assert.Equal(t, free, w.state(k1))
			case "response":
				assert.Equal(t, 201, w.do(payment()).Client.Status)
				assert.Equal(t, pending, w.state(k1))
			case "log":
				w.Do(t, payment(), kongtest.Refuses)
				assert.Equal(t, pending, w.state(k1))
			}
			assert.Contains(t, strings.Join(w.Logged(), "\n"), "a defect of the plugin")
			w.BeforePhase = nil
			w.store.panic.Store(false)
			assert.Equal(t, 201, w.do(withKey("k2")).Client.Status)
		})
	}
}

func TestADefectThatFollowsTheClaimLeavesNoClaim(t *testing.T) {
	t.Parallel()
	w := begin(t, &plugin.Config{})
	w.store.panicsLate.Store(true)
	wantProblem(t, w.do(payment()), 500, "internal")
	w.store.panicsLate.Store(false)
	assert.Equal(t, free, w.state(k1), "the service got nothing: there is nothing to hold the key for")
}

// Kong runs a phase again whose connection is closed on it.
func TestAPhaseThatIsRunTwiceIsRunOnce(t *testing.T) {
	t.Parallel()
	for _, phase := range []string{"access", "response", "log"} {
		for _, c := range []struct {
			fate kongtest.Fate
			want string
		}{{kongtest.Answers, completed}, {kongtest.Refuses, pending}} {
			w := begin(t, &plugin.Config{})
			w.Repeat = phase
			w.Do(t, payment(), c.fate)
			assert.Equal(t, c.want, w.state(k1), phase)
			assert.Equal(t, 1, w.Passed())
			assert.NotContains(t, strings.Join(w.Logged(), "\n"), "attempt 2")
			assert.NotContains(t, strings.Join(w.Logged(), "\n"), "err:", phase)
		}
	}
}

func TestADamagedClaimIsLeftToItsLease(t *testing.T) {
	t.Parallel()
	for _, damaged := range []string{"x", "AQ", "!!", strings.Repeat("A", 100)} {
		w := begin(t, &plugin.Config{Unknown: "release"})
		w.SpoilBefore, w.Spoiled = "response", map[string]string{"onlyonce_claim": damaged}
		assert.Equal(t, 201, w.do(payment()).Client.Status)
		assert.Equal(t, pending, w.state(k1))
		assert.Contains(t, strings.Join(w.Logged(), "\n"), "is damaged")
	}
}

func TestAWrongConfigurationIsToldWithTheFirstRequestAndNothingIsPassedOn(t *testing.T) {
	t.Parallel()
	w := begin(t, &plugin.Config{LeaseMS: 1000, TimeoutMS: 10_000})
	for range 2 {
		wantProblem(t, w.do(payment()), 500, "internal")
	}
	get := payment()
	get.Method = "GET"
	wantProblem(t, w.do(get), 500, "internal") // which methods are protected is not known
	require.Len(t, w.Logged(), 3)
	assert.Contains(t, w.Logged()[0], "lease_ms is 1000: it must be at least timeout_ms and a second more, 11000")
}
