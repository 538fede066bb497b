package idempotency_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/memstore"
)

// hoard is a cache that forgets nothing and knows nothing of time.
type hoard struct {
	mu   sync.Mutex
	held map[idempotency.Key]*idempotency.CachedRecord
}

func (h *hoard) Get(key idempotency.Key) *idempotency.CachedRecord {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.held[key]
}

func (h *hoard) Add(key idempotency.Key, record *idempotency.CachedRecord) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.held == nil {
		h.held = map[idempotency.Key]*idempotency.CachedRecord{}
	}
	h.held[key] = record
}

func (h *hoard) len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.held)
}

// cachedWorld is an engine with a cache, on a store that counts and can lose everything, under clocks that are moved by hand.
type cachedWorld struct {
	*testing.T
	engine *idempotency.Engine
	cache  *hoard
	clock  *idempotency.Clock
	store  *gated
	runs   int
	events []idempotency.Event
	answer idempotency.Response
	fails  error
}

func newCachedWorld(t *testing.T, config idempotency.Config) *cachedWorld {
	w := &cachedWorld{T: t, cache: &hoard{}, clock: &idempotency.Clock{}, store: &gated{}}
	w.answer = idempotency.Response{Status: 201, Header: []byte("Location: /1\r\n"), Body: []byte("paid")}
	w.lose()
	config.Cache = w.cache
	config.Observer = func(_ context.Context, event idempotency.Event) { w.events = append(w.events, event) }
	w.engine = engineOn(t, w.store, config)
	w.engine.SetClock(w.clock)
	return w
}

// lose puts an empty store in the place of the one that is there, as an operator or a failover may.
func (w *cachedWorld) lose() {
	store, err := memstore.New(memstore.Config{Now: func() time.Time { return time.Unix(0, 0).Add(w.clock.Passed()) }})
	require.NoError(w, err)
	w.store.Store = store
}

func (w *cachedWorld) pay(request idempotency.Request) (idempotency.Result, error) {
	return w.engine.Run(w.Context(), request, func(context.Context) (idempotency.Response, error) {
		w.runs++
		return w.answer, w.fails
	})
}

// asks returns how often the store was asked since the last time.
func (w *cachedWorld) asks() int { return int(w.store.claims.Swap(0) + w.store.lookups.Swap(0)) }

// wantReplay pays, and wants the first answer, asked for or not at the store.
func (w *cachedWorld) wantReplay(asked bool) {
	w.Helper()
	w.asks()
	result, err := w.pay(request)
	require.NoError(w, err)
	require.True(w, result.Replayed)
	require.Equal(w, w.answer, result.Response)
	require.Equal(w, 1, w.runs)
	require.Equal(w, asked, w.asks() > 0, "was the store asked?")
	last := w.events[len(w.events)-1]
	require.Equal(w, idempotency.Replayed, last.Kind)
	require.Equal(w, !asked, last.Cached)
	require.Equal(w, 201, last.Status)
}

func TestACompletedKeyIsReplayedFromMemory(t *testing.T) {
	t.Parallel()
	w := newCachedWorld(t, idempotency.Config{})
	result, err := w.pay(request)
	require.NoError(t, err)
	require.False(t, result.Replayed)
	w.wantReplay(false)
}

func TestARefusalIsReplayedFromMemory(t *testing.T) {
	t.Parallel()
	w := newCachedWorld(t, idempotency.Config{})
	w.answer.Status = 402
	_, err := w.pay(request)
	require.NoError(t, err)
	w.asks()
	result, err := w.pay(request)
	require.NoError(t, err)
	require.True(t, result.Replayed)
	require.Zero(t, w.asks())
}

func TestARecordThatAnotherProcessStoredIsReplayedFromMemoryTheSecondTime(t *testing.T) {
	t.Parallel()
	w := newCachedWorld(t, idempotency.Config{})
	_, err := engineOn(t, w.store, idempotency.Config{}).Run(t.Context(), request, func(context.Context) (idempotency.Response, error) {
		w.runs++
		return w.answer, nil
	})
	require.NoError(t, err)
	w.wantReplay(true)
	w.wantReplay(false)
}

func TestTheCacheTakesNothingButWhatAReplayIsAnsweredWith(t *testing.T) {
	t.Parallel()
	for name, outcome := range map[string]struct {
		response idempotency.Response
		err      error
	}{
		"a failure":  {idempotency.Response{Status: 503}, nil},
		"a conflict": {idempotency.Response{Status: 409}, nil},
		"an error":   {idempotency.Response{}, errors.New("no")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newCachedWorld(t, idempotency.Config{})
			w.answer, w.fails = outcome.response, outcome.err
			for range 2 {
				_, _ = w.pay(request)
			}
			require.Equal(t, 2, w.runs)
			require.Zero(t, w.cache.len())
		})
	}
	t.Run("an attempt at work", func(t *testing.T) {
		t.Parallel()
		w := newCachedWorld(t, idempotency.Config{})
		_, _, err := w.store.Claim(t.Context(), request.Key)
		require.NoError(t, err)
		_, err = w.pay(request)
		require.ErrorIs(t, err, idempotency.ErrInProgress)
		require.Zero(t, w.cache.len())
	})
	for name, answers := range map[string]answering{
		"a commit in doubt":           {err: idempotency.ErrOutcomeUnknown},
		"a commit that was read back": {readBack: true},
		"another attempt's record":    {other: &idempotency.Record{Left: time.Hour}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newCachedWorld(t, idempotency.Config{})
			answers.Store = w.store
			w.store = &gated{Store: &answers}
			w.engine = engineOn(t, w.store, idempotency.Config{Cache: w.cache})
			_, _ = w.pay(request)
			require.Equal(t, 1, w.runs)
			require.Zero(t, w.cache.len())
		})
	}
	t.Run("a record of which the store does not tell what is left", func(t *testing.T) {
		t.Parallel()
		w := newCachedWorld(t, idempotency.Config{})
		engine := engineOn(t, silent{w.store}, idempotency.Config{Cache: w.cache})
		_, err := engineOn(t, w.store, idempotency.Config{}).Run(t.Context(), request, func(context.Context) (idempotency.Response, error) { return w.answer, nil })
		require.NoError(t, err)
		for range 2 {
			result, err := engine.Run(t.Context(), request, nil)
			require.NoError(t, err)
			require.True(t, result.Replayed)
		}
		require.Zero(t, w.cache.len())
	})
}

// answering is a store whose commits end in another way than they did.
type answering struct {
	idempotency.Store
	err      error
	readBack bool
	other    *idempotency.Record
}

func (a *answering) Claim(ctx context.Context, key idempotency.Key) (idempotency.Attempt, *idempotency.Record, error) {
	attempt, record, err := a.Store.Claim(ctx, key)
	return &answeringAttempt{attempt, a}, record, err
}

type answeringAttempt struct {
	idempotency.Attempt
	answers *answering
}

func (a *answeringAttempt) Complete(ctx context.Context, record *idempotency.Record, retention time.Duration) (idempotency.Settled, error) {
	settled, err := a.Attempt.Complete(ctx, record, retention)
	if a.answers.other != nil {
		settled.Record = a.answers.other
	}
	settled.ReadBack = a.answers.readBack
	return settled, errors.Join(err, a.answers.err)
}

// silent is a store that does not tell what is left of a retention.
type silent struct{ idempotency.Store }

func (s silent) Claim(ctx context.Context, key idempotency.Key) (idempotency.Attempt, *idempotency.Record, error) {
	attempt, record, err := s.Store.Claim(ctx, key)
	return attempt, untold(record), err
}

func (s silent) Lookup(ctx context.Context, key idempotency.Key) (*idempotency.Record, error) {
	record, err := s.Store.Lookup(ctx, key)
	return untold(record), err
}

func untold(record *idempotency.Record) *idempotency.Record {
	if record != nil {
		record.Left = 0
	}
	return record
}

func TestAnotherRequestWithACachedKeyIsRefused(t *testing.T) {
	t.Parallel()
	w := newCachedWorld(t, idempotency.Config{})
	_, err := w.pay(request)
	require.NoError(t, err)
	other := request
	other.Fingerprint = idempotency.Fingerprint{1}
	w.asks()
	_, err = w.pay(other)
	require.ErrorIs(t, err, idempotency.ErrKeyReused)
	require.Zero(t, w.asks())
	last := w.events[len(w.events)-1]
	assert.Equal(t, idempotency.Reused, last.Kind)
	assert.True(t, last.Cached)
	assert.Equal(t, 422, last.Status)

	other.Matches = func(stored idempotency.Fingerprint) bool { return stored == request.Fingerprint }
	result, err := w.pay(other)
	require.NoError(t, err, "an older recipe made the fingerprint that is stored")
	require.True(t, result.Replayed)
	require.Equal(t, 1, w.runs)
}

func TestACachedKeyIsOfItsScopeAlone(t *testing.T) {
	t.Parallel()
	w := newCachedWorld(t, idempotency.Config{})
	_, err := w.pay(request)
	require.NoError(t, err)
	bob := request
	bob.Key.Scope = "bob"
	result, err := w.pay(bob)
	require.NoError(t, err)
	require.False(t, result.Replayed)
	require.Equal(t, 2, w.runs)
}

func TestTwoEnginesWithOneCacheDoNotShareTheirRecords(t *testing.T) {
	t.Parallel()
	w := newCachedWorld(t, idempotency.Config{})
	_, err := w.pay(request)
	require.NoError(t, err)
	another := engineOn(t, memory(t), idempotency.Config{Cache: w.cache})
	another.SetClock(w.clock)
	result, err := another.Run(t.Context(), request, func(context.Context) (idempotency.Response, error) {
		return idempotency.Response{Body: []byte("of another table")}, nil
	})
	require.NoError(t, err)
	require.False(t, result.Replayed)
}

func TestNobodyChangesWhatIsCached(t *testing.T) {
	t.Parallel()
	w := newCachedWorld(t, idempotency.Config{})
	made := w.answer
	made.Header, made.Body = []byte("Location: /1\r\n"), []byte("paid")
	engine := engineOn(t, &answering{Store: copying{w.store}}, idempotency.Config{Cache: w.cache})
	spoil := func(response idempotency.Response) {
		for _, part := range [][]byte{response.Header, response.Body} {
			for i := range part {
				part[i] = 'X'
			}
		}
	}
	result, err := engine.Run(t.Context(), request, func(context.Context) (idempotency.Response, error) { return made, nil })
	require.NoError(t, err)
	spoil(made)
	spoil(result.Response)
	for range 3 {
		result, err = engine.Run(t.Context(), request, nil)
		require.NoError(t, err)
		require.True(t, result.Replayed)
		require.Equal(t, w.answer, result.Response)
		spoil(result.Response)
		_ = append(result.Response.Header, "X-Forged: 1\r\n"...)
		_ = append(result.Response.Body, "X"...)
	}
	sharing := request
	sharing.SharesResponse = true
	one, err := engine.Run(t.Context(), sharing, nil)
	require.NoError(t, err)
	two, err := engine.Run(t.Context(), sharing, nil)
	require.NoError(t, err)
	require.Same(t, &one.Response.Body[0], &two.Response.Body[0], "whoever promises not to change it gets the very bytes")
	require.Equal(t, cap(one.Response.Header), len(one.Response.Header), "what is appended to goes elsewhere")

	w.cache.held = nil
	for range 2 { // read from the store, by a caller that changes what it gets
		result, err = engine.Run(t.Context(), request, nil)
		require.NoError(t, err)
		require.Equal(t, w.answer, result.Response)
		spoil(result.Response)
	}
}

// copying is a store that keeps what it is given apart, as one does that is not in memory.
type copying struct{ idempotency.Store }

func (c copying) Claim(ctx context.Context, key idempotency.Key) (idempotency.Attempt, *idempotency.Record, error) {
	attempt, record, err := c.Store.Claim(ctx, key)
	if attempt == nil {
		return nil, clone(record), err
	}
	return copyingAttempt{attempt}, nil, err
}

func (c copying) Lookup(ctx context.Context, key idempotency.Key) (*idempotency.Record, error) {
	record, err := c.Store.Lookup(ctx, key)
	return clone(record), err
}

type copyingAttempt struct{ idempotency.Attempt }

func (a copyingAttempt) Complete(ctx context.Context, record *idempotency.Record, retention time.Duration) (idempotency.Settled, error) {
	_, err := a.Attempt.Complete(ctx, clone(record), retention)
	return idempotency.Settled{Record: record}, err
}

func clone(record *idempotency.Record) *idempotency.Record {
	if record == nil {
		return nil
	}
	other := *record
	other.Response.Header, other.Response.Body = append([]byte{}, record.Response.Header...), append([]byte{}, record.Response.Body...)
	return &other
}

func TestASealedRecordIsReplayedFromMemoryAsItWasBeforeItWasSealed(t *testing.T) {
	t.Parallel()
	w := newCachedWorld(t, idempotency.Config{Sealer: keys(t, "a")})
	_, err := w.pay(request)
	require.NoError(t, err)
	w.wantReplay(false)
	w.clock.Awake(10 * time.Second)
	w.wantReplay(true)
	w.wantReplay(false)
}

func TestAnAgeWithoutACacheOrOutOfItsBoundsIsRefused(t *testing.T) {
	t.Parallel()
	for _, config := range []idempotency.Config{
		{CacheMaxAge: time.Second},
		{Cache: &hoard{}, CacheMaxAge: -1},
		{Cache: &hoard{}, CacheMaxAge: time.Microsecond},
		{Cache: &hoard{}, CacheMaxAge: time.Hour + 1},
	} {
		_, err := idempotency.New(memory(t), config)
		require.ErrorContains(t, err, "Config.CacheMaxAge")
	}
}
