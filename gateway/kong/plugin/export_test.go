package plugin

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
)

// DefaultLease is what a configuration without lease_ms and timeout_ms has.
const DefaultLease = defaultTimeout + defaultMargin

var (
	lent     sync.Map // url: idempotency.Leaser
	lentUpTo atomic.Int64
)

func init() {
	patience = 500 * time.Millisecond // which tests wait out
	places.most = 1 << 20             // each test has one
	open := places.open
	places.open = func(p place) (idempotency.Leaser, func(), error) {
		if leaser, found := lent.Load(p.url); found {
			return leaser.(idempotency.Leaser), func() {}, nil
		}
		return open(p)
	}
}

// Lenders returns a url at which leaser is.
func Lenders(t *testing.T, leaser idempotency.Leaser) string {
	url := fmt.Sprintf("test:%d", lentUpTo.Add(1))
	lent.Store(url, leaser)
	t.Cleanup(func() { lent.Delete(url) })
	return url
}

// Check is what a request with this configuration runs into.
func Check(c *Config) error {
	_, err := c.check()
	return err
}

// Pools is a set of pools of a test's own.
type Pools struct{ l lenders }

func NewPools(most int, idle time.Duration, now func() time.Time, open func(url string) (idempotency.Leaser, func(), error)) *Pools {
	return &Pools{lenders{most: most, idle: idle, now: now, pools: map[place]*pool{}, open: func(p place) (idempotency.Leaser, func(), error) { return open(p.url) }}}
}

func (p *Pools) Lend(url, token string, use func(idempotency.Leaser) error) error {
	return p.l.lend(place{url: url, token: token}, use)
}
