package torture

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/onlyonce/onlyonce/integration/history"
)

// client asks for things, again and again, until it is answered.
type client struct {
	world  *world
	number int
	random *rand.Rand // of its own goroutine
	sent   int

	// over ends when the client begins nothing any more. ctx ends when it gives up what it has begun.
	over, ctx context.Context
	vanishes  bool
}

func newClient(w *world, number int, over, ctx context.Context) *client {
	return &client{
		world: w, number: number, over: over, ctx: ctx,
		random:   rand.New(rand.NewPCG(w.config.Seed, uint64(number)<<32+2)),
		vanishes: slices.Contains(w.config.Faults, vanish.name),
	}
}

// chance is true in so many of 100 cases.
func (c *client) chance(percent int) bool { return c.random.IntN(100) < percent }

// work takes one turn after the other.
func (c *client) work() {
	for c.over.Err() == nil && c.ctx.Err() == nil {
		c.turn()
		pause(c.over, time.Duration(c.random.Int64N(int64(20*time.Millisecond))))
	}
}

// turn does one thing.
func (c *client) turn() {
	work := c.world.config.Work
	k := c.world.keys.pick(c.random)
	if c.chance(work.Late) {
		k = c.world.keys.early(c.random)
	}
	switch draw := c.random.IntN(100); {
	case draw < work.Reads:
		c.read(k)
		return
	case draw < work.Reads+work.Mismatches:
		k = k.otherwise()
	}
	switch {
	case c.vanishes && c.chance(15):
		c.vanish(k)
		if c.chance(30) {
			return // for good
		}
		c.insist(k)
	case c.chance(work.Bursts):
		c.burst(k)
	default:
		c.insist(k)
	}
	// What is done is done for everybody, at once.
	if c.chance(25) {
		c.read(k)
	}
	if c.chance(25) {
		c.insist(k)
	}
}

// tries are what one goroutine draws to make attempts by.
type tries struct {
	random *rand.Rand
	prefix string
	sent   int
}

// begin draws what a series of attempts needs.
func (c *client) begin() *tries {
	c.sent++
	return &tries{random: rand.New(rand.NewPCG(c.random.Uint64(), 0)), prefix: fmt.Sprintf("%d.%d", c.number, c.sent)}
}

// once makes one attempt, at any server.
func (c *client) once(ctx context.Context, t *tries, k key, read bool) history.Attempt {
	t.sent++
	return c.world.send(ctx, t.random.IntN(len(c.world.servers)), k, history.Attempt{ID: fmt.Sprintf("%s.%d", t.prefix, t.sent), Client: c.number, Read: read})
}

// insist asks until there is a final answer, or the client has to give up.
func (c *client) insist(k key) { c.persist(c.begin(), k) }

func (c *client) persist(t *tries, k key) {
	for c.ctx.Err() == nil {
		// Sometimes too short for a server that stands still, sometimes long enough to hear what it says when it wakes.
		ctx, cancel := context.WithTimeout(c.ctx, time.Second+time.Duration(t.random.Int64N(int64(4*time.Second))))
		made := c.once(ctx, t, k, false)
		cancel()
		if made.Final() {
			return
		}
		pause(c.ctx, again(made, t.random.Float64()))
	}
}

// burst sends the same request several times at once, or nearly: each may arrive just when another one commits.
func (c *client) burst(k key) {
	var all sync.WaitGroup
	for n := range 2 + c.random.IntN(3) {
		t := c.begin()
		all.Go(func() {
			if n > 0 {
				pause(c.ctx, time.Duration(t.random.Int64N(int64(12*time.Millisecond))))
			}
			c.persist(t, k)
		})
	}
	all.Wait()
}

// vanish sends a request and does not wait for the answer.
func (c *client) vanish(k key) {
	most := 25 * time.Millisecond
	if k.kind == history.Card && c.chance(70) {
		most = 800 * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(c.ctx, time.Duration(c.random.Int64N(int64(most))))
	defer cancel()
	t := c.begin()
	t.sent++
	made := history.Attempt{ID: fmt.Sprintf("%s.%d", t.prefix, t.sent), Client: c.number, Vanished: true}
	if made = c.world.send(ctx, t.random.IntN(len(c.world.servers)), k, made); !made.Answered {
		c.world.struck(vanish.name, true)
	}
}

// read asks once how many payments the key has.
func (c *client) read(k key) {
	ctx, cancel := context.WithTimeout(c.ctx, 3*time.Second)
	defer cancel()
	c.once(ctx, c.begin(), k, true)
}
