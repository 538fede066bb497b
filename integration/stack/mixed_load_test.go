package stack

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A pool much smaller than the load: waiting requests must not starve those that work.
func TestFiveHundredMixedRequestsFinishOnFourConnections(t *testing.T) {
	t.Parallel()
	const keys, times = 100, 5
	kinds := []struct {
		path   string
		status int
		did    effects
	}{
		{"/payments", http.StatusCreated, once},
		{"/nothing", http.StatusNoContent, once},
		{"/refused", http.StatusPaymentRequired, refused},
		{"/fails", http.StatusInternalServerError, never},
		{"/swallows", http.StatusInternalServerError, never},
	}
	accounts := []string{"a", "b", "c", "d", "e", "f", "g"}
	w := newWorld(t, accounts...)
	s := startServer(t, settings{URL: w.url, Connections: 4, Wait: patience, Timeout: patience, HandlerTimeout: patience})

	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	order := rand.New(rand.NewPCG(seed, 0)).Perm(keys * times)
	replies := make([]reply, keys*times)
	started := time.Now()
	var all sync.WaitGroup
	for _, i := range order {
		all.Go(func() {
			key, kind := i%keys, kinds[i%keys%len(kinds)]
			replies[i] = s.send(payFor(accounts[key%len(accounts)], fmt.Sprintf("key-%d", key)).to(kind.path))
		})
	}
	finished := make(chan struct{})
	go func() { all.Wait(); close(finished) }()
	await(t, "all requests are answered", finished)
	t.Logf("%d requests on 4 connections took %v", len(replies), time.Since(started).Round(time.Millisecond))

	for key := range keys {
		kind := kinds[key%len(kinds)]
		for i := key; i < len(replies); i += keys {
			require.NoError(t, replies[i].err)
			assert.Equal(t, kind.status, replies[i].status, kind.path+" "+replies[i].body)
			if kind.did.Keys == 1 {
				assert.Equal(t, replies[key].body, replies[i].body)
			}
		}
		assert.Equal(t, kind.did, w.effects(t, fmt.Sprintf("key-%d", key)), strings.Trim(kind.path, "/"))
	}
	w.wantBalanced(t)
}
