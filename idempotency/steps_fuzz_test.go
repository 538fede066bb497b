package idempotency

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var stepLists = [][]step{
	{{atomicPhase, "ride", []byte(`{"id":1}`)}},
	{{foreignCall, "card", nil}},
	{{atomicPhase, "a", []byte("null")}, {foreignCall, "größe", bytes.Repeat([]byte{0, 0xff}, 300)}, {atomicPhase, strings.Repeat("x", maxStepName), []byte{}}},
}

func TestAListOfStepsComesBackAsItWas(t *testing.T) {
	t.Parallel()
	for _, want := range stepLists {
		got, err := parseSteps(appendSteps(nil, want))
		require.NoError(t, err)
		require.Len(t, got, len(want))
		for i := range want {
			require.Equal(t, want[i].kind, got[i].kind)
			require.Equal(t, want[i].name, got[i].name)
			require.Equal(t, string(want[i].result), string(got[i].result))
		}
	}
	none, err := parseSteps(nil)
	require.NoError(t, err)
	require.Empty(t, none)
}

// What is in a database is read by every later version.
func TestAListOfStepsIsWrittenAsItHasAlwaysBeen(t *testing.T) {
	t.Parallel()
	require.Equal(t, "\x01a\x04ride\x08{\"id\":1}f\x04card\x00",
		string(appendSteps(nil, []step{{atomicPhase, "ride", []byte(`{"id":1}`)}, {foreignCall, "card", nil}})))
}

func TestADamagedListOfStepsIsRefused(t *testing.T) {
	t.Parallel()
	whole := appendSteps(nil, stepLists[2])
	ends := map[int]bool{1: true} // where a list may end
	for n := range stepLists[2] {
		ends[len(appendSteps(nil, stepLists[2][:n+1]))] = true
	}
	for n := 1; n <= len(whole); n++ {
		_, err := parseSteps(whole[:n])
		require.Equal(t, ends[n], err == nil, "cut off at %d", n)
	}
	for _, damaged := range []string{"\x00", "\x02", "\x02a\x01x\x00", "\x01x\x01x\x00", "\x01a", "\x01a\x05x\x00", "\x01a\x01x\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\x01a\x01x\x00\x00"} {
		_, err := parseSteps([]byte(damaged))
		require.ErrorIs(t, err, errSteps, "%q", damaged)
	}
}

func FuzzSteps(f *testing.F) {
	for _, list := range stepLists {
		f.Add(appendSteps(nil, list))
	}
	for _, seed := range []string{"", "\x01", "\x02a\x00\x00", "\x01a\x80\x00\x00", "\x01a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\x01f\x01x\xff\xff\xff\xff\x0f"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		steps, err := parseSteps(b)
		if err != nil {
			require.Same(t, errSteps, err)
			return
		}
		again, err := parseSteps(appendSteps(nil, steps))
		require.NoError(t, err)
		require.Equal(t, appendSteps(nil, steps), appendSteps(nil, again))
		require.Len(t, again, len(steps))
	})
}
