package trial

import (
	"context"
	"sync"
)

// together pays all keys, so many at a time.
func together(ctx context.Context, workers int, keys []string, pay func(context.Context, string) ([]byte, error)) error {
	next := make(chan string)
	var once sync.Once
	var failed error
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for key := range next {
				if _, err := pay(ctx, key); err != nil {
					once.Do(func() { failed = err })
				}
			}
		})
	}
	for _, key := range keys {
		next <- key
	}
	close(next)
	all.Wait()
	return failed
}
