package trial

import (
	"context"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/onlyonce/onlyonce/bench/contender"
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
	// answered is closed, and forgotten, at the next answer.
	answered chan struct{}
}

// client is what one key's client has seen.
type client struct {
	body   string // empty: it had no answer when its patience ended
	failed failures
	waited time.Duration // from its first attempt to its answer
}

// failures are the attempts of a key that had no good answer.
type failures struct {
	broken  int // the connection ended: the server was killed
	busy    int // the key was said to be under way
	refused int // another answer, mostly an error of the server
	silent  int // no answer in crowdTimeout
}

func (f failures) any() bool { return f != failures{} }

func (f *failures) count(err error) {
	var timeout net.Error
	switch {
	case errors.Is(err, contender.ErrBusy):
		f.busy++
	case errors.Is(err, errRefused):
		f.refused++
	case errors.As(err, &timeout) && timeout.Timeout():
		f.silent++
	default:
		f.broken++
	}
}

// says tells what a wait was for.
func (f failures) says() string {
	var parts []string
	for _, cause := range []struct {
		times int
		name  string
	}{{f.broken, "broken"}, {f.busy, "busy"}, {f.refused, "refused"}, {f.silent, "silent"}} {
		if cause.times > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", cause.times, cause.name))
		}
	}
	return strings.Join(parts, ", ")
}

const (
	crowdTimeout = 3 * time.Second
	// crowdPause is the longest pause between two attempts. A wait is measured no more exactly than that.
	crowdPause = 500 * time.Millisecond
)

func newCrowd(ctx context.Context, url string, patience time.Duration) *crowd {
	return &crowd{
		ctx: ctx, url: url, patience: patience, over: make(chan struct{}), hopeless: make(chan struct{}), clients: map[string]client{},
		http: &http.Client{Timeout: crowdTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: 4 * killClients}},
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
				var failed failures
				failed.count(err)
				c.paying.Go(func() { c.persist(key, began, failed) })
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
func (c *crowd) persist(key string, began time.Time, failed failures) {
	pause := 20 * time.Millisecond
	for {
		select {
		case <-time.After(pause/2 + mathrand.N(pause)):
		case <-c.hopeless:
			c.note(key, client{failed: failed})
			return
		case <-c.ctx.Done():
			return
		}
		body, err := c.send(c.ctx, key)
		if err == nil {
			c.note(key, client{body: body, failed: failed, waited: time.Since(began)})
			return
		}
		failed.count(err)
		pause = min(2*pause, crowdPause)
	}
}

// again asks for an answer that was given already, and gives up when its patience ends.
func (c *crowd) again(key string) (string, error) {
	ctx, cancel := context.WithTimeout(c.ctx, c.patience)
	defer cancel()
	for {
		body, err := c.send(ctx, key)
		if err == nil {
			return body, nil
		}
		select {
		case <-time.After(crowdPause / 10):
		case <-ctx.Done():
			return "", err
		}
	}
}

func (c *crowd) note(key string, seen client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clients[key] = seen
	if seen.body != "" && c.answered != nil {
		close(c.answered)
		c.answered = nil
	}
}

// next returns a channel that is closed at the next answer.
func (c *crowd) next() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.answered == nil {
		c.answered = make(chan struct{})
	}
	return c.answered
}

// errRefused is an answer that is neither the payment's nor a conflict.
var errRefused = errors.New("refused")

// send makes one attempt. net/http makes it two where the connection breaks, as it does for requests that have such a key.
func (c *crowd) send(ctx context.Context, key string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, nil)
	if err != nil {
		return "", err
	}
	r.Header.Set("Idempotency-Key", key)
	answer, err := c.http.Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	switch {
	case err != nil:
		return "", err
	case answer.StatusCode == http.StatusConflict:
		return "", contender.ErrBusy
	case answer.StatusCode != payment.Status:
		return "", errRefused
	}
	return string(body), nil
}
