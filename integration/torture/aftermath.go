package torture

import (
	"context"
	"sync"
	"time"
)

// mend undoes what the faults may have left behind.
func (w *world) mend(ctx context.Context) {
	w.provider.reliable.Store(true)
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	w.mu.Lock()
	set := w.fired[clock.name] > 0
	w.mu.Unlock()
	if set {
		for _, s := range w.servers {
			s.setClock(bounded, 0)
		}
	}
	for w.database.pool.Ping(bounded) != nil && bounded.Err() == nil {
		pause(bounded, 20*time.Millisecond)
	}
}

// rest lets the clients get the answers that they still lack, and the completers finish what nobody came back for.
func (w *world) rest(ctx context.Context, clients *sync.WaitGroup, giveUp context.CancelFunc) {
	served := make(chan struct{})
	go func() { clients.Wait(); close(served) }()
	select {
	case <-served:
	case <-time.After(patience):
		giveUp()
		<-served
	case <-ctx.Done():
		giveUp()
		<-served
		return
	}
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for quiet := 0; quiet < 3 && bounded.Err() == nil; { // three looks, since a request may be between two stages
		if w.quiet(bounded) {
			quiet++
		} else {
			quiet = 0
		}
		pause(bounded, 50*time.Millisecond)
	}
}

// quiet reports whether nothing is under way: no key pending, no transaction open.
func (w *world) quiet(ctx context.Context) bool {
	var busy bool
	err := w.database.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM idempotency_keys WHERE state = 'pending')
		OR EXISTS (SELECT FROM pg_stat_activity WHERE application_name = $1 AND xact_start IS NOT NULL)`, w.database.application).Scan(&busy)
	return err == nil && !busy
}
