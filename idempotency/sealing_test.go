package idempotency_test

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/idempotency/seal"
)

const secret = "4242424242424242"

// keys returns a Sealer with the keys of these ids, of which the first one seals.
func keys(t *testing.T, ids ...string) *seal.Box {
	t.Helper()
	config := seal.Config{Current: ids[0], Keys: map[string][]byte{}}
	for _, id := range ids {
		config.Keys[id] = bytes.Repeat([]byte(id[:1]), seal.KeySize)
	}
	box, err := seal.New(config)
	require.NoError(t, err)
	return box
}

// tells answers with the secret in its header and in its body.
func tells(context.Context) (idempotency.Response, error) {
	return idempotency.Response{Status: 201, Header: []byte("X-Card: " + secret + "\r\n"), Body: []byte(`{"card":"` + secret + `"}`)}, nil
}

func wantTold(t *testing.T, result idempotency.Result, err error) {
	t.Helper()
	require.NoError(t, err)
	want, _ := tells(t.Context())
	require.Equal(t, want, result.Response)
	require.True(t, result.Replayed)
}

func wantUnreadable(t *testing.T, engine *idempotency.Engine, request idempotency.Request, says string) error {
	t.Helper()
	_, err := engine.Run(t.Context(), request, never(t))
	require.ErrorIs(t, err, idempotency.ErrRecordUnreadable)
	require.ErrorContains(t, err, says)
	require.NotContains(t, err.Error(), secret)
	return err
}

func stored(t *testing.T, store idempotency.Store, key idempotency.Key) *idempotency.Record {
	t.Helper()
	record, err := store.Lookup(t.Context(), key)
	require.NoError(t, err)
	require.NotNil(t, record)
	return record
}

// put stores a record as somebody would who can write to the store.
func put(t *testing.T, store idempotency.Store, key idempotency.Key, record idempotency.Record) {
	t.Helper()
	attempt, _, err := store.Claim(t.Context(), key)
	require.NoError(t, err)
	_, err = attempt.Complete(t.Context(), &record, time.Hour)
	require.NoError(t, err)
}

func TestWhatIsStoredIsSealedAndAReplayIsNot(t *testing.T) {
	t.Parallel()
	store := memory(t)
	engine := engineOn(t, store, idempotency.Config{Sealer: keys(t, "a")})
	first, err := engine.Run(t.Context(), request, tells)
	require.NoError(t, err)
	want, _ := tells(t.Context())
	require.Equal(t, want, first.Response)

	record := stored(t, store, request.Key)
	require.Equal(t, 201, record.Response.Status, "the status stays readable")
	require.Equal(t, "\x00sealed:", string(record.Response.Header))
	require.NotContains(t, string(record.Response.Body), secret)
	for _, e := range []*idempotency.Engine{engine, engineOn(t, store, idempotency.Config{Sealer: keys(t, "a")})} {
		result, err := e.Run(t.Context(), request, never(t))
		wantTold(t, result, err)
	}
}

func TestTheHeaderOfAnOpenedRecordHasNoRoomInItsBody(t *testing.T) {
	t.Parallel()
	engine := engineOn(t, memory(t), idempotency.Config{Sealer: keys(t, "a")})
	_, err := engine.Run(t.Context(), request, tells)
	require.NoError(t, err)
	result, err := engine.Run(t.Context(), request, never(t))
	require.NoError(t, err)
	_ = append(result.Response.Header, "X-Request-Id: 1\r\n"...)
	wantTold(t, result, err)
}

func TestARecordOfAnotherServiceWithTheSameKeysIsNoAnswer(t *testing.T) {
	t.Parallel()
	of := func(store idempotency.Store, service string) *idempotency.Engine {
		box, err := seal.New(seal.Config{Current: "a", Keys: map[string][]byte{"a": bytes.Repeat([]byte("a"), seal.KeySize)}, Context: service})
		require.NoError(t, err)
		return engineOn(t, store, idempotency.Config{Sealer: box})
	}
	payments, refunds := memory(t), memory(t)
	_, err := of(payments, "payments").Run(t.Context(), request, tells)
	require.NoError(t, err)
	put(t, refunds, request.Key, *stored(t, payments, request.Key))
	wantUnreadable(t, of(refunds, "refunds"), request, "seal.Config.Context is another")
}

func TestARecordThatWasMovedOrChangedIsNoAnswer(t *testing.T) {
	t.Parallel()
	fingerprinted := idempotency.Request{Key: idempotency.Key{Scope: "ab", Value: "c"}, Fingerprint: idempotency.Fingerprint{1, 2, 3}}
	other := idempotency.Fingerprint{3, 2, 1}
	for name, change := range map[string]func(r *idempotency.Record, to *idempotency.Request){
		"to another key":   func(_ *idempotency.Record, to *idempotency.Request) { to.Key.Value = "d" },
		"to another scope": func(_ *idempotency.Record, to *idempotency.Request) { to.Key.Scope = "b" },
		"from scope to key": func(_ *idempotency.Record, to *idempotency.Request) {
			to.Key = idempotency.Key{Scope: "a", Value: "bc"}
		},
		"to another fingerprint": func(r *idempotency.Record, to *idempotency.Request) { r.Fingerprint, to.Fingerprint = other, other },
		"the fingerprint alone":  func(r *idempotency.Record, _ *idempotency.Request) { r.Fingerprint = other },
		"the fingerprint, which fits": func(r *idempotency.Record, to *idempotency.Request) {
			r.Fingerprint = other
			to.Matches = func(idempotency.Fingerprint) bool { return true }
		},
		"the status": func(r *idempotency.Record, _ *idempotency.Request) { r.Response.Status = 402 },
		"a header more": func(r *idempotency.Record, _ *idempotency.Request) {
			r.Response.Header = append(r.Response.Header, 'x')
		},
		"the mark gone":         func(r *idempotency.Record, _ *idempotency.Request) { r.Response.Header = nil },
		"a plain header":        func(r *idempotency.Record, _ *idempotency.Request) { r.Response.Header = []byte("Location: /\r\n") },
		"a plain body":          func(r *idempotency.Record, _ *idempotency.Request) { r.Response.Body = []byte("forged") },
		"no body":               func(r *idempotency.Record, _ *idempotency.Request) { r.Response.Body = nil },
		"a body that is a mark": func(r *idempotency.Record, _ *idempotency.Request) { r.Response.Body = []byte("\x00sealed:") },
		"a bit of the body":     func(r *idempotency.Record, _ *idempotency.Request) { r.Response.Body[len(r.Response.Body)/2] ^= 1 },
		"a body that ends early": func(r *idempotency.Record, _ *idempotency.Request) {
			r.Response.Body = r.Response.Body[:len(r.Response.Body)-1]
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			from := memory(t)
			_, err := engineOn(t, from, idempotency.Config{Sealer: keys(t, "a")}).Run(t.Context(), fingerprinted, tells)
			require.NoError(t, err)
			record, to := *stored(t, from, fingerprinted.Key), fingerprinted
			record.Response.Header, record.Response.Body = bytes.Clone(record.Response.Header), bytes.Clone(record.Response.Body)
			change(&record, &to)

			store := memory(t)
			put(t, store, to.Key, record)
			for range 2 {
				wantUnreadable(t, engineOn(t, store, idempotency.Config{Sealer: keys(t, "a")}), to, "")
			}
			stays := *stored(t, store, to.Key)
			stays.Left = record.Left // which passes
			require.Equal(t, record, stays, "the row stays")
		})
	}
}

func TestALostKeyIsAnErrorAndNotAnotherRun(t *testing.T) {
	t.Parallel()
	store := memory(t)
	on := func(config idempotency.Config) *idempotency.Engine { return engineOn(t, store, config) }
	_, err := on(idempotency.Config{Sealer: keys(t, "2026-05")}).Run(t.Context(), request, tells)
	require.NoError(t, err)

	err = wantUnreadable(t, on(idempotency.Config{Sealer: keys(t, "x")}), request, `give key "2026-05" back`)
	require.ErrorIs(t, err, seal.ErrKeyUnknown)
	wrong, err := seal.New(seal.Config{Current: "2026-05", Keys: map[string][]byte{"2026-05": bytes.Repeat([]byte("w"), seal.KeySize)}})
	require.NoError(t, err)
	err = wantUnreadable(t, on(idempotency.Config{Sealer: wrong}), request, `"2026-05" is not the key any more`)
	require.ErrorIs(t, err, seal.ErrNotAuthentic)
	wantUnreadable(t, on(idempotency.Config{}), request, "Config.Sealer is not set")
	require.Equal(t, 500, idempotency.AsError(err).Code.Status())
	require.Equal(t, idempotency.Reuse, idempotency.AsError(err).Code.KeyAction())

	for _, mode := range []idempotency.Sealing{idempotency.SealedOnly, idempotency.SealedAndPlain, idempotency.PlainAndSealed} {
		result, err := on(idempotency.Config{Sealer: keys(t, "x", "2026-05"), Sealing: mode}).Run(t.Context(), request, never(t))
		wantTold(t, result, err)
	}
}

func TestSealingIsBegunAndEndedOnALiveService(t *testing.T) {
	t.Parallel()
	box := keys(t, "a")
	before := idempotency.Config{}
	reads := idempotency.Config{Sealer: box, Sealing: idempotency.PlainAndSealed}
	both := idempotency.Config{Sealer: box, Sealing: idempotency.SealedAndPlain}
	only := idempotency.Config{Sealer: box}
	for _, c := range []struct {
		name           string
		writes         idempotency.Config
		sealed         bool
		replays, fails []idempotency.Config
	}{
		{"before", before, false, []idempotency.Config{before, reads, both}, []idempotency.Config{only}},
		{"first step", reads, false, []idempotency.Config{before, reads, both}, []idempotency.Config{only}},
		{"second step", both, true, []idempotency.Config{reads, both, only}, []idempotency.Config{before}},
		{"third step", only, true, []idempotency.Config{reads, both, only}, []idempotency.Config{before}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			store := memory(t)
			_, err := engineOn(t, store, c.writes).Run(t.Context(), request, tells)
			require.NoError(t, err)
			require.Equal(t, c.sealed, !bytes.Contains(stored(t, store, request.Key).Response.Body, []byte(secret)))
			for _, config := range c.replays {
				result, err := engineOn(t, store, config).Run(t.Context(), request, never(t))
				wantTold(t, result, err)
			}
			for _, config := range c.fails {
				wantUnreadable(t, engineOn(t, store, config), request, "sealed")
			}
		})
	}
	for _, wrong := range []idempotency.Config{{Sealing: idempotency.SealedAndPlain}, {Sealer: box, Sealing: 3}, {Sealer: box, Sealing: -1}} {
		_, err := idempotency.New(memory(t), wrong)
		require.ErrorContains(t, err, "Config.Sealing")
	}
}

func TestAHandlerCannotStoreWhatLooksSealed(t *testing.T) {
	t.Parallel()
	store := memory(t)
	engine := engineOn(t, store, idempotency.Config{})
	record := func(context.Context) (idempotency.Response, error) {
		return idempotency.Response{Status: 201, Header: []byte("\x00sealed:"), Body: []byte("\x00sealed:")}, nil
	}
	_, err := engine.Run(t.Context(), request, record)
	require.ErrorIs(t, err, idempotency.ErrInternal)
	require.ErrorContains(t, err, "begins with")
	_, err = engine.Run(t.Context(), request, answers("\x00sealed: in a body is no matter"))
	require.NoError(t, err, "the key is free")
	result, err := engine.Run(t.Context(), request, never(t))
	require.NoError(t, err)
	require.Equal(t, "\x00sealed: in a body is no matter", string(result.Response.Body))

	w := newWorld(t)
	describing := request
	describing.Describe = func() ([]byte, error) { return []byte("\x00sealed:request"), nil }
	_, err = w.engine(idempotency.Config{}).Run(t.Context(), describing, w.program(nil, "atomic one"))
	require.ErrorIs(t, err, idempotency.ErrInternal)
	w.wantNothingPending()
	_, err = w.engine(idempotency.Config{Sealer: keys(t, "a")}).Run(t.Context(), describing, w.program(nil, "atomic one"))
	require.NoError(t, err, "sealed, it is told apart")
}

// counting counts what is sealed and opened.
type counting struct {
	idempotency.Sealer
	seals, opens atomic.Int32
	err          error
}

func (c *counting) Seal(plain, bound []byte) ([]byte, error) {
	c.seals.Add(1)
	if c.err != nil {
		return nil, c.err
	}
	return c.Sealer.Seal(plain, bound)
}

func (c *counting) Open(sealed, bound []byte) ([]byte, error) {
	c.opens.Add(1)
	return c.Sealer.Open(sealed, bound)
}

func TestAHerdIsSealedOnceAndOpenedOnce(t *testing.T) {
	t.Parallel()
	inner := memory(t)
	box := &counting{Sealer: keys(t, "a")}
	for round, opens := range []int32{0, 1} {
		store := &gated{Store: inner, arrived: make(chan struct{}, 100), open: make(chan struct{})}
		engine := engineOn(t, store, idempotency.Config{Sealer: box, Wait: time.Minute})
		type answered struct {
			result idempotency.Result
			err    error
		}
		results := make(chan answered, 20)
		run := func() {
			result, err := engine.Run(t.Context(), request, tells)
			results <- answered{result, err}
		}
		go run()
		<-store.arrived
		for range 19 {
			go run()
		}
		require.Eventually(t, func() bool { return engine.Waiters() == 19 }, 10*time.Second, time.Millisecond)
		close(store.open)
		for range 20 {
			got := <-results
			require.NoError(t, got.err)
			want, _ := tells(t.Context())
			require.Equal(t, want, got.result.Response)
		}
		require.EqualValues(t, 1, box.seals.Load(), "round %d", round)
		require.EqualValues(t, opens, box.opens.Load(), "round %d", round)
	}
}

func TestTheLimitOfAResponseIsThatOfItsPlainBody(t *testing.T) {
	t.Parallel()
	engine := engineOn(t, memory(t), idempotency.Config{Sealer: keys(t, "a"), MaxResponseBytes: 10})
	_, err := engine.Run(t.Context(), request, answers("0123456789"))
	require.NoError(t, err)
	other := idempotency.Request{Key: idempotency.Key{Scope: "alice", Value: "other"}}
	_, err = engine.Run(t.Context(), other, answers("0123456789a"))
	require.ErrorIs(t, err, idempotency.ErrResponseTooLarge)
}

func TestWhatCannotBeSealedIsNotStored(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	box := &counting{Sealer: keys(t, "a"), err: errors.New("no key service")}
	engine := w.engine(idempotency.Config{Sealer: box})
	_, err := engine.Run(t.Context(), request, tells)
	require.ErrorIs(t, err, idempotency.ErrInternal)
	require.ErrorContains(t, err, "no key service")
	_, err = engine.Run(t.Context(), request, w.program(nil, "atomic one"))
	require.ErrorIs(t, err, idempotency.ErrInternal)
	_, err = engine.Run(t.Context(), request, w.program(nil, "foreign one"))
	require.ErrorIs(t, err, idempotency.ErrInternal)
	w.wantDone("one") // the atomic one; the foreign one was not even begun
	w.wantNothingPending()
	box.err = nil
	w.completes(engine, w.program(nil, "atomic one"))
}

func TestARecordThatAnotherProcessStoresMeanwhileIsOpened(t *testing.T) {
	t.Parallel()
	store := memory(t)
	engine := func() *idempotency.Engine {
		return engineOn(t, store, idempotency.Config{Sealer: keys(t, "a"), Wait: time.Minute})
	}
	inside, finish := make(chan struct{}), make(chan struct{})
	go func() {
		_, _ = engine().Run(context.WithoutCancel(t.Context()), request, func(ctx context.Context) (idempotency.Response, error) {
			close(inside)
			<-finish
			return tells(ctx)
		})
	}()
	<-inside
	waiting := engine()
	type answered struct {
		result idempotency.Result
		err    error
	}
	answer := make(chan answered, 1)
	go func() {
		result, err := waiting.Run(t.Context(), request, never(t))
		answer <- answered{result, err}
	}()
	require.Eventually(t, func() bool { return waiting.Waiters() == 1 }, 10*time.Second, time.Millisecond)
	close(finish)
	got := <-answer
	wantTold(t, got.result, got.err)
}

// late is a store whose attempts find, at their end, that another one came first.
type late struct {
	idempotency.Store
	first *idempotency.Record
}

type lateAttempt struct {
	idempotency.Attempt
	first *idempotency.Record
}

func (l *late) Claim(ctx context.Context, key idempotency.Key) (idempotency.Attempt, *idempotency.Record, error) {
	attempt, record, err := l.Store.Claim(ctx, key)
	return &lateAttempt{attempt, l.first}, record, err
}

func (a *lateAttempt) Complete(ctx context.Context, _ *idempotency.Record, _ time.Duration) (idempotency.Settled, error) {
	return idempotency.Settled{Record: a.first}, a.Release(ctx)
}

func TestARecordThatCameFirstIsOpened(t *testing.T) {
	t.Parallel()
	store := memory(t)
	_, err := engineOn(t, store, idempotency.Config{Sealer: keys(t, "a")}).Run(t.Context(), request, tells)
	require.NoError(t, err)
	behind := &late{memory(t), stored(t, store, request.Key)}
	result, err := engineOn(t, behind, idempotency.Config{Sealer: keys(t, "a")}).Run(t.Context(), request, answers("mine"))
	wantTold(t, result, err)
	_, err = engineOn(t, behind, idempotency.Config{Sealer: keys(t, "x")}).Run(t.Context(), request, answers("mine"))
	require.ErrorIs(t, err, idempotency.ErrRecordUnreadable)
}
