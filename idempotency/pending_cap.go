package idempotency

import (
	"context"
	"errors"
	"math"
	"sync"
)

// PendingCounter is a [Chain] of a store that can count the pending keys of a scope. Config.MaxPendingPerScope needs it for keys
// that are left at a recovery point.
type PendingCounter interface {
	Chain

	// CountPending returns how many keys of the attempt's scope are pending, or limit if there are that many or more. It looks at
	// pending keys alone, however many of the scope are completed, and takes no second connection. It is called after Begin, and
	// before the key is pending itself.
	CountPending(ctx context.Context, limit int) (int, error)
}

var (
	errRunning = ErrTooManyPending.Because(errors.New("idempotency: this engine runs as many operations of the scope as Config.MaxPendingPerScope allows"))
	errPending = ErrTooManyPending.Because(errors.New("idempotency: as many keys of the scope as Config.MaxPendingPerScope allows are left at a recovery point"))
)

// scopes counts the operations that an engine runs, by their scope.
type scopes struct {
	mu      sync.Mutex
	running map[string]int
}

// enter counts an operation, and reports whether there are no more than most of its scope. Otherwise it has not counted it.
func (s *scopes) enter(scope string, most int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running[scope] >= most {
		return false
	}
	s.running[scope]++
	return true
}

func (s *scopes) leave(scope string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running[scope]--; s.running[scope] == 0 {
		delete(s.running, scope) // or every scope that there ever was would be kept
	}
}

// admit counts the operation that is about to run, and turns a new one away where its scope has enough of them. One that was begun
// before goes on: that is how there get fewer of them.
func (c *call) admit(ctx context.Context, attempt Attempt) error {
	most := c.config.MaxPendingPerScope
	if chain, ok := attempt.(Chain); ok && chain.Progress() != nil {
		most = math.MaxInt
	}
	if c.scopes.enter(c.request.Key.Scope, most) {
		return nil
	}
	_ = attempt.Release(context.WithoutCancel(ctx))
	return errRunning
}

// capped reports whether the scope may have no room for another key at a recovery point.
func (c *chain) capped() bool { return c.call.config.MaxPendingPerScope > 0 && !c.kept }

// room refuses a key its first recovery point where its scope has enough of them. The step has not begun yet, and the handler has
// written nothing.
func (c *chain) room() error {
	if err := c.attempt.Begin(c.detached); err != nil {
		return err
	}
	counter, ok := c.attempt.(PendingCounter)
	if !ok {
		return nil
	}
	most := c.call.config.MaxPendingPerScope
	pending, err := counter.CountPending(c.detached, most)
	if err == nil && pending >= most {
		err = errPending
	}
	return err
}
