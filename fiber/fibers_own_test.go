package idempotencyfiber_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/idempotency"
	"github.com/stretchr/testify/require"

	idempotencyfiber "github.com/onlyonce/onlyonce/fiber"
	"github.com/onlyonce/onlyonce/memstore"
)

// What the README says of Fiber's own middleware, beside what this one does with the same handler.

// shared is a fiber.Storage of several servers.
type shared struct {
	mu     sync.Mutex
	stored map[string][]byte
	broken error // what Set returns
}

func (s *shared) Get(key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stored[key], nil
}

func (s *shared) Set(key string, value []byte, _ time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken == nil {
		s.stored[key] = value
	}
	return s.broken
}

func (s *shared) GetWithContext(_ context.Context, key string) ([]byte, error) { return s.Get(key) }

func (s *shared) SetWithContext(_ context.Context, key string, value []byte, lifetime time.Duration) error {
	return s.Set(key, value, lifetime)
}

func (*shared) DeleteWithContext(context.Context, string) error { return nil }
func (*shared) Delete(string) error                             { return nil }
func (*shared) ResetWithContext(context.Context) error          { return nil }
func (*shared) Reset() error                                    { return nil }
func (*shared) Close() error                                    { return nil }

// awaited is Fiber's lock, which tells that somebody waits for it.
type awaited struct {
	idempotency.Locker
	comes chan struct{}
}

func (a awaited) Lock(key string) error {
	a.comes <- struct{}{}
	return a.Locker.Lock(key)
}

// own returns a shop that Fiber's own middleware protects.
func own(t *testing.T, handler fiber.Handler, config idempotency.Config) *shop {
	t.Helper()
	s := &shop{T: t, App: fiber.New()}
	config.KeyHeader, config.KeyHeaderValidate = "Idempotency-Key", func(string) error { return nil }
	if config.Storage == nil {
		config.Storage = &shared{stored: map[string][]byte{}}
	}
	s.Post("/orders/:id", idempotency.New(config), func(c fiber.Ctx) error { s.runs.Add(1); return handler(c) })
	return s
}

func TestFibersOwnHasADuplicateWaitAndThisOneAnswers409(t *testing.T) {
	t.Parallel()
	inside, release := make(chan struct{}, 1), make(chan struct{})
	handler := func(c fiber.Ctx) error {
		inside <- struct{}{}
		<-release
		return c.Status(http.StatusCreated).SendString("paid")
	}
	locks := make(chan struct{}, 2)
	theirs := own(t, handler, idempotency.Config{Lock: awaited{idempotency.NewMemoryLock(), locks}})
	ours := newShop(t, handler, place{})
	answers := make(chan answer, 4)
	for _, s := range []*shop{theirs, ours} {
		go func() { answers <- s.order("k") }()
		<-inside
	}
	<-locks
	go func() { answers <- theirs.order("k") }()
	<-locks // and there it stays, as long as the handler runs
	require.Equal(t, http.StatusConflict, ours.order("k").status)
	require.Empty(t, answers)
	close(release)
	for range 3 {
		require.Equal(t, http.StatusCreated, (<-answers).status)
	}
	theirs.ran(1)
	ours.ran(1)
}

func TestFibersOwnKeepsAFailureAndThisOneRunsAgain(t *testing.T) {
	t.Parallel()
	broken := true
	handler := func(c fiber.Ctx) error {
		if broken {
			return c.Status(http.StatusInternalServerError).SendString("the database is away")
		}
		return c.Status(http.StatusCreated).SendString("paid")
	}
	theirs, ours := own(t, handler, idempotency.Config{}), newShop(t, handler, place{})
	for _, s := range []*shop{theirs, ours} {
		require.Equal(t, http.StatusInternalServerError, s.order("k").status)
	}
	broken = false
	require.Equal(t, http.StatusInternalServerError, theirs.order("k").status)
	require.Equal(t, http.StatusCreated, ours.order("k").status)
	theirs.ran(1)
	ours.ran(2)
}

func TestFibersOwnRunsOnceInEveryServerAndThisOneOnce(t *testing.T) {
	t.Parallel()
	inside, release := make(chan struct{}, 2), make(chan struct{})
	handler := func(c fiber.Ctx) error {
		inside <- struct{}{}
		<-release
		return c.Status(http.StatusCreated).SendString("paid")
	}
	storage := &shared{stored: map[string][]byte{}}
	theirs := []*shop{own(t, handler, idempotency.Config{Storage: storage}), own(t, handler, idempotency.Config{Storage: storage})}
	store, err := memstore.New(memstore.Config{})
	require.NoError(t, err)
	ours := []*shop{newShop(t, handler, place{store: store}), newShop(t, handler, place{store: store})}

	answers := make(chan answer, 3)
	for _, s := range theirs {
		go func() { answers <- s.order("k") }()
		<-inside // both
	}
	go func() { answers <- ours[0].order("k") }()
	<-inside
	require.Equal(t, http.StatusConflict, ours[1].order("k").status)
	close(release)
	for range 3 {
		require.Equal(t, http.StatusCreated, (<-answers).status)
	}
	for i, runs := range []int{1, 1} {
		theirs[i].ran(runs)
	}
	require.True(t, ours[1].order("k").replayed())
	ours[0].ran(1)
	ours[1].ran(0)
}

// The effect is there, and its response is not.
func TestFibersOwnStoresItsResponseBesideTheEffect(t *testing.T) {
	t.Parallel()
	storage := &shared{stored: map[string][]byte{}, broken: errors.New("the storage is away")}
	effects := 0
	theirs := own(t, func(c fiber.Ctx) error {
		effects++
		return c.Status(http.StatusCreated).SendString("paid")
	}, idempotency.Config{Storage: storage})
	require.Equal(t, http.StatusInternalServerError, theirs.order("k").status)
	storage.mu.Lock()
	storage.broken = nil
	storage.mu.Unlock()
	require.Equal(t, http.StatusCreated, theirs.order("k").status)
	require.Equal(t, 2, effects)
}

func TestFibersOwnComparesNothingAndKnowsNoTenants(t *testing.T) {
	t.Parallel()
	handler := func(c fiber.Ctx) error { return c.SendString(c.Get("X-Account") + " " + string(c.Body())) }
	theirs := own(t, handler, idempotency.Config{})
	ours := newShop(t, handler, place{config: idempotencyfiber.Config{Scope: func(c fiber.Ctx) (string, error) { return c.Get("X-Account"), nil }}})
	ask := func(s *shop, account, body string) answer {
		r := order("k", body)
		r.Header.Set("X-Account", account)
		return s.send(r)
	}
	for _, s := range []*shop{theirs, ours} {
		require.Equal(t, "alice 1", ask(s, "alice", "1").body)
	}
	require.Equal(t, "alice 1", ask(theirs, "alice", "2").body)
	require.Equal(t, "alice 1", ask(theirs, "bob", "1").body)
	theirs.ran(1)
	require.Equal(t, http.StatusUnprocessableEntity, ask(ours, "alice", "2").status)
	require.Equal(t, "bob 1", ask(ours, "bob", "1").body)
	ours.ran(2)
}

func TestFibersOwnReplaysCookies(t *testing.T) {
	t.Parallel()
	handler := func(c fiber.Ctx) error {
		c.Cookie(&fiber.Cookie{Name: "session", Value: "secret"})
		return c.SendString("paid")
	}
	theirs, ours := own(t, handler, idempotency.Config{}), newShop(t, handler, place{})
	for i := range 2 {
		require.NotEmpty(t, theirs.order("k").header["Set-Cookie"])
		require.Equal(t, i == 0, len(ours.order("k").header["Set-Cookie"]) > 0)
	}
}
