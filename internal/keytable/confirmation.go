package keytable

import "sync"

// Confirmations lets all who wait for one share it. One runs at a time; who comes while it does must wait for the next, since
// what they have read may be younger than it.
type Confirmations struct {
	mu      sync.Mutex
	running bool
	next    *Confirmation // nil if nobody waits for it
}

// Confirmation is one that is waited for.
type Confirmation struct {
	Over chan struct{}
	Err  error // once Over is closed
}

// Join returns the next confirmation, and has it run by a goroutine that ends when nobody waits any more.
func (c *Confirmations) Join(confirm func() error) *Confirmation {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next == nil {
		c.next = &Confirmation{Over: make(chan struct{})}
	}
	if !c.running {
		c.running = true
		go c.run(confirm)
	}
	return c.next
}

func (c *Confirmations) run(confirm func() error) {
	for {
		c.mu.Lock()
		round := c.next
		c.next, c.running = nil, round != nil
		c.mu.Unlock()
		if round == nil {
			return
		}
		round.Err = confirm()
		close(round.Over)
	}
}
