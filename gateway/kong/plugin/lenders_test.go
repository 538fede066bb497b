package plugin_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/gateway/kong/plugin"
	"github.com/onlyonce/onlyonce/idempotency"
)

// opened counts what was opened and closed.
type opened struct {
	*plugin.Pools
	clock         atomic.Int64
	opened        atomic.Int32
	closed        chan string
	fails         error
	leaserOfTests idempotency.Leaser
}

func pools(most int, idle time.Duration) *opened {
	o := &opened{closed: make(chan string, 100)}
	o.Pools = plugin.NewPools(most, idle, func() time.Time { return time.Unix(0, o.clock.Load()) }, func(url string) (idempotency.Leaser, func(), error) {
		if o.fails != nil {
			return nil, nil, o.fails
		}
		o.opened.Add(1)
		return o.leaserOfTests, func() { o.closed <- url }, nil
	})
	return o
}

func (o *opened) use(t *testing.T, url, token string) {
	t.Helper()
	require.NoError(t, o.Lend(url, token, func(idempotency.Leaser) error { return nil }))
}

func (o *opened) wasClosed(t *testing.T) string {
	t.Helper()
	select {
	case url := <-o.closed:
		return url
	case <-time.After(10 * time.Second):
		t.Fatal("no pool was closed")
		return ""
	}
}

func TestOnePlaceHasOnePool(t *testing.T) {
	t.Parallel()
	o := pools(5, time.Minute)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() { o.use(t, "a", "") })
	}
	all.Wait()
	assert.EqualValues(t, 1, o.opened.Load())
	o.use(t, "b", "")
	o.use(t, "a", "another token")
	assert.EqualValues(t, 3, o.opened.Load())
}

func TestAPoolThatNobodyUsesIsClosedByWhoOpensAnother(t *testing.T) {
	t.Parallel()
	o := pools(5, time.Minute)
	o.use(t, "old", "")
	o.clock.Add(int64(time.Minute) - 1)
	o.use(t, "new", "")
	assert.Empty(t, o.closed)
	o.clock.Add(1)
	o.use(t, "new", "") // is there: nothing is looked at
	assert.Empty(t, o.closed)
	o.use(t, "newer", "")
	assert.Equal(t, "old", o.wasClosed(t))
	o.use(t, "old", "")
	assert.EqualValues(t, 4, o.opened.Load())
}

func TestThereAreNoMorePoolsThanThereMayBe(t *testing.T) {
	t.Parallel()
	o := pools(2, time.Hour)
	o.use(t, "a", "")
	o.clock.Add(1)
	o.use(t, "b", "")
	o.clock.Add(1)
	o.use(t, "a", "")
	o.use(t, "c", "")
	assert.Equal(t, "b", o.wasClosed(t), "the one unused for longest")
	err := o.Lend("a", "", func(idempotency.Leaser) error {
		return o.Lend("c", "", func(idempotency.Leaser) error {
			return o.Lend("d", "", func(idempotency.Leaser) error { return nil })
		})
	})
	require.ErrorIs(t, err, idempotency.ErrStoreUnavailable, "a pool that is in use was closed")
	assert.ErrorContains(t, err, "too many different url")
	assert.Empty(t, o.closed)
	o.use(t, "d", "")
	assert.Contains(t, []string{"a", "c"}, o.wasClosed(t))
}

func TestAPlaceThatCannotBeOpenedIsTriedAgain(t *testing.T) {
	t.Parallel()
	o := pools(2, time.Hour)
	o.fails = errors.New("no such scheme")
	err := o.Lend("a", "", func(idempotency.Leaser) error { return nil })
	require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
	o.fails = nil
	o.use(t, "a", "")
}

func TestAPoolIsGivenBackByAPanicToo(t *testing.T) {
	t.Parallel()
	o := pools(1, time.Hour)
	assert.Panics(t, func() { _ = o.Lend("a", "", func(idempotency.Leaser) error { panic("a defect") }) })
	o.use(t, "b", "")
	assert.Equal(t, "a", o.wasClosed(t))
}
