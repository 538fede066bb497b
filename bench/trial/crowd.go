package trial

import (
	"context"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/onlyonce/onlyonce/bench/measure"
	"github.com/onlyonce/onlyonce/bench/payment"
)

// crowd pays at one address, with a fresh key each, and sends a key again whose answer does not come.
type crowd struct {
	ctx    context.Context
	url    string
	http   *http.Client
	over   chan struct{}
	paying sync.WaitGroup
	// patience is how long keys are still sent again once no more clients begin, until hopeless is closed.
	patience time.Duration
	hopeless chan struct{}

	mu      sync.Mutex
	clients map[string]client
}

// client is what one key's client has seen.
type client struct {
	body   string // empty: it had no answer when its patience ended
	broken bool   // an attempt had no good answer
	waited time.Duration
}

func newCrowd(ctx context.Context, url string, patience time.Duration) *crowd {
	return &crowd{
		ctx: ctx, url: url, patience: patience, over: make(chan struct{}), hopeless: make(chan struct{}), clients: map[string]client{},
		http: &http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 4 * killClients}},
	}
}

// begin has so many clients pay at a time. One whose first attempt has failed goes on by itself, and another takes its place.
func (c *crowd) begin(places int) {
	for range places {
		c.paying.Go(func() {
			for {
				select {
				case <-c.over:
					return
				case <-c.ctx.Done():
					return
				default:
				}
				key, began := measure.RandomKey(), time.Now()
				body, err := c.send(c.ctx, key)
				if err == nil {
					c.note(key, client{body: body, waited: time.Since(began)})
					continue
				}
				c.paying.Go(func() { c.persist(key, began) })
			}
		})
	}
}

// end lets no more clients begin, and waits until all have their answers, or have lost their patience.
func (c *crowd) end() {
	close(c.over)
	defer time.AfterFunc(c.patience, func() { close(c.hopeless) }).Stop()
	c.paying.Wait()
}

// persist sends a key again until it is answered.
func (c *crowd) persist(key string, began time.Time) {
	pause := 20 * time.Millisecond
	for {
		select {
		case <-time.After(pause/2 + mathrand.N(pause)):
		case <-c.hopeless:
			c.note(key, client{broken: true})
			return
		case <-c.ctx.Done():
			return
		}
		if body, err := c.send(c.ctx, key); err == nil {
			c.note(key, client{body: body, broken: true, waited: time.Since(began)})
			return
		}
		pause = min(2*pause, 2*time.Second)
	}
}

func (c *crowd) note(key string, seen client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clients[key] = seen
}

// errRefused is an answer that is not the payment's.
var errRefused = errors.New("not answered")

// send makes one attempt. net/http makes it two where the connection breaks, as it does for requests that have such a key.
func (c *crowd) send(ctx context.Context, key string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, nil)
	if err != nil {
		return "", err
	}
	r.Header.Set("Idempotency-Key", key)
	answer, err := c.http.Do(r)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errRefused, err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != payment.Status {
		return "", errors.Join(errRefused, err)
	}
	return string(body), nil
}
