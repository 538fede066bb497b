package torture

import (
	"context"
	"fmt"
	"time"
)

// Progress is how far a run is.
type Progress struct {
	Elapsed, Duration time.Duration
	Attempts, Faults  int
	// Keys is how many operations were begun.
	Keys int64
}

func (p Progress) String() string {
	state := fmt.Sprintf("%3.0f of %.0f s", p.Elapsed.Seconds(), p.Duration.Seconds())
	if p.Elapsed > p.Duration {
		state = "coming to rest"
	}
	return fmt.Sprintf("%s: %d keys, %d requests, %d faults", state, p.Keys, p.Attempts, p.Faults)
}

// tell tells how it goes, until ctx ends.
func (w *world) tell(ctx context.Context) {
	if w.config.Progress == nil {
		return
	}
	turn := time.NewTicker(time.Second)
	defer turn.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-turn.C:
		}
		now := Progress{Elapsed: w.now(), Duration: w.config.Duration, Keys: w.keys.newest.Load() + 1}
		w.mu.Lock()
		now.Attempts = len(w.attempts)
		for _, n := range w.fired {
			now.Faults += n
		}
		w.mu.Unlock()
		w.config.Progress(now)
	}
}
