package store_test

import (
	"context"
	"sync"
	"time"

	"github.com/onlyonce/onlyonce/examples/store"
)

// memory is a storage as a server would be: it has a clock of its own, which tests move, and drops what has lived long enough. It is
// a store.Table, and by its methods get and set a store.Storage.
type memory struct {
	mu      sync.Mutex
	now     time.Duration
	version uint64
	entries map[string]entry
}

type entry struct {
	value   []byte
	version uint64
	ends    time.Duration
}

func newMemory() *memory { return &memory{entries: map[string]entry{}} }

func (m *memory) find(name string) entry {
	found, ok := m.entries[name]
	if ok && found.ends > m.now {
		return found
	}
	return entry{}
}

func (m *memory) Get(ctx context.Context, name string) ([]byte, uint64, error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	found := m.find(name)
	return found.value, found.version, nil
}

func (m *memory) Swap(ctx context.Context, name string, version uint64, value []byte, life time.Duration) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.find(name).version != version {
		return 0, store.ErrStale
	}
	if value == nil {
		delete(m.entries, name)
		return 0, nil
	}
	m.version++
	m.entries[name] = entry{value, m.version, m.now + life}
	return m.version, nil
}

func (m *memory) age(by time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now += by
}

func (m *memory) forget(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.entries, name)
}

// storage is a memory without versions, as Fiber's storages are.
type storage struct{ *memory }

func (s storage) Get(name string) ([]byte, error) {
	value, _, err := s.memory.Get(context.Background(), name)
	return value, err
}

func (s storage) Set(name string, value []byte, life time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	s.entries[name] = entry{value, s.version, s.now + life}
	return nil
}

// locks are locks by name, for everybody who has them.
type locks struct {
	mu   sync.Mutex
	held map[string]chan struct{}
}

func newLocks() *locks { return &locks{held: map[string]chan struct{}{}} }

func (l *locks) Lock(name string) error {
	for {
		l.mu.Lock()
		free, held := l.held[name]
		if !held {
			l.held[name] = make(chan struct{})
			l.mu.Unlock()
			return nil
		}
		l.mu.Unlock()
		<-free
	}
}

func (l *locks) Unlock(name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if free, held := l.held[name]; held {
		delete(l.held, name)
		close(free)
	}
	return nil
}
