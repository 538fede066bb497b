package plugin

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/onlyonce/onlyonce/gateway/backend"
	"github.com/onlyonce/onlyonce/idempotency"
)

// place is where keys are kept.
type place struct{ url, token, schema string }

// lend calls use with what lends keys at p.
func (p place) lend(use func(idempotency.Leaser) error) error { return places.lend(p, use) }

// lenders are the pools of the process, one for each place, shared by all configurations and opened when the first request needs one. Kong does not
// tell a plugin that a configuration is gone, so that a pool nobody has used for a while is closed by whoever comes next.
type lenders struct {
	most int
	idle time.Duration
	now  func() time.Time
	open func(p place) (leaser idempotency.Leaser, close func(), err error)

	mu    sync.Mutex
	pools map[place]*pool
}

type pool struct {
	leaser  idempotency.Leaser
	close   func()
	uses    int
	lastUse time.Time
}

var places = &lenders{most: 16, idle: 10 * time.Minute, now: time.Now, open: openBackend, pools: map[place]*pool{}}

func openBackend(p place) (idempotency.Leaser, func(), error) {
	opened, err := backend.Open(context.Background(), p.url, backend.Options{Schema: p.schema, Token: p.token, Timeout: patience})
	if err != nil {
		return nil, nil, err
	}
	return opened.Leaser, opened.Close, nil
}

var errPlaces = errors.New("onlyonce: too many different url, token and schema in use at once: let routes share them")

func (l *lenders) lend(p place, use func(idempotency.Leaser) error) error {
	taken, err := l.take(p)
	if err != nil {
		return idempotency.ErrStoreUnavailable.Because(err)
	}
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		taken.uses--
		taken.lastUse = l.now()
	}()
	return use(taken.leaser)
}

func (l *lenders) take(p place) (*pool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := l.pools[p]
	if found == nil {
		l.closeIdle()
		if len(l.pools) >= l.most && !l.closeOldest() {
			return nil, errPlaces
		}
		leaser, closing, err := l.open(p) // which touches no network
		if err != nil {
			return nil, err
		}
		found = &pool{leaser: leaser, close: closing}
		l.pools[p] = found
	}
	found.uses++
	return found, nil
}

// closeIdle closes what nobody has used for a while.
func (l *lenders) closeIdle() {
	for p, pool := range l.pools {
		if pool.uses == 0 && l.now().Sub(pool.lastUse) >= l.idle {
			l.end(p)
		}
	}
}

// closeOldest makes room by closing the pool that has been unused for longest, if there is one.
func (l *lenders) closeOldest() bool {
	var oldest *pool
	var at place
	for p, pool := range l.pools {
		if pool.uses == 0 && (oldest == nil || pool.lastUse.Before(oldest.lastUse)) {
			oldest, at = pool, p
		}
	}
	if oldest != nil {
		l.end(at)
	}
	return oldest != nil
}

// end closes a pool that nobody uses. Closing may wait for connections: nobody who wants another pool waits for that.
func (l *lenders) end(p place) {
	go l.pools[p].close()
	delete(l.pools, p)
}
