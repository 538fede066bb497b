package gateway

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTwoGatewaysAndTwoHundredDuplicatesAreOneCall(t *testing.T) {
	onEveryStore(t, herd)
}

func herd(t *testing.T, in open) {
	w := in(t, settings{unknown: "hold", timeout: patience, lease: 2 * patience, wait: patience}, func(string, int) fate { return answers })
	gateways := []*gateway{w.direct(), w.direct()}
	came, letGo := w.upstream.hold()
	all := make([]answer, 200)
	var asking sync.WaitGroup
	for i := range all {
		asking.Go(func() { all[i] = gateways[i%2].post("r") })
	}
	await(t, "the first of them", came)
	letGo()
	asking.Wait()
	replayed := 0
	for _, a := range all {
		require.Equal(t, 201, a.status, "%+v", a)
		require.Equal(t, all[0].body, a.body)
		if a.replayed {
			replayed++
		}
	}
	require.Equal(t, 199, replayed)
	did, calls := w.upstream.did("r")
	require.Equal(t, 1, did)
	require.Equal(t, 1, calls)
}
