package stack

import (
	"context"
	"sync"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
)

// event is what a server told its operator.
type event struct {
	Kind   idempotency.EventKind
	Status int
	Err    string
}

// events are those of one server, as they happened.
type events struct {
	mu      sync.Mutex
	all     []event
	changed chan struct{}
	heard   func(event) // may be nil
}

func newEvents() *events { return &events{changed: make(chan struct{})} }

func (es *events) observe(_ context.Context, e idempotency.Event) {
	told := event{Kind: e.Kind, Status: e.Status}
	if e.Err != nil {
		told.Err = e.Err.Error()
	}
	es.add(told)
}

func (es *events) add(e event) {
	es.mu.Lock()
	defer es.mu.Unlock()
	es.all = append(es.all, e)
	close(es.changed)
	es.changed = make(chan struct{})
	if es.heard != nil {
		es.heard(e)
	}
}

// of returns the events of a kind.
func (es *events) of(kind idempotency.EventKind) []event {
	es.mu.Lock()
	defer es.mu.Unlock()
	var found []event
	for _, e := range es.all {
		if e.Kind == kind {
			found = append(found, e)
		}
	}
	return found
}

// await waits until there have been n events of a kind. It returns false when that takes longer than limit.
func (es *events) await(kind idempotency.EventKind, n int, limit time.Duration) bool {
	deadline := time.After(limit)
	for {
		es.mu.Lock()
		changed := es.changed
		es.mu.Unlock()
		if len(es.of(kind)) >= n {
			return true
		}
		select {
		case <-changed:
		case <-deadline:
			return false
		}
	}
}
