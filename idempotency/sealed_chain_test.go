package idempotency_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

// card is a handler whose step and whose error have the secret in them.
func (w *world) card(fails *atomic.Bool) idempotency.Handler {
	return func(ctx context.Context) (idempotency.Response, error) {
		got, err := idempotency.Atomic(ctx, "one", func(context.Context) (string, error) { w.did("one"); return secret, nil })
		if err != nil {
			return idempotency.Response{}, err
		}
		require.Equal(w, secret, got)
		if fails.Load() {
			return idempotency.Response{}, errors.New("declined: " + secret)
		}
		return tells(ctx)
	}
}

// describing is a request that has the secret in it.
var describing = idempotency.Request{
	Key: request.Key, Fingerprint: idempotency.Fingerprint{1}, Describe: func() ([]byte, error) { return []byte("card " + secret), nil },
}

func TestWhatIsLeftAtARecoveryPointIsSealedAndResumedWithOtherKeys(t *testing.T) {
	t.Parallel()
	for _, by := range []string{"a retry", "the completer"} {
		t.Run(by, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var fails atomic.Bool
			fails.Store(true)
			handler := w.card(&fails)
			_, err := w.engine(idempotency.Config{Sealer: keys(t, "old")}).Run(t.Context(), describing, handler)
			require.ErrorContains(t, err, "declined")
			left := w.pending()
			require.NotContains(t, string(left.Steps), secret)
			require.NotContains(t, string(left.Request), secret)
			require.Equal(t, "internal", left.LastError)
			require.Equal(t, "one", left.RecoveryPoint)

			// Another process, which seals with another key, gets as far as a second step: two keys in one row.
			rotated := w.engine(idempotency.Config{Sealer: keys(t, "new", "old")})
			further := describing
			further.Fingerprint, further.Matches = idempotency.Fingerprint{2}, func(idempotency.Fingerprint) bool { return true }
			_, err = rotated.Run(t.Context(), further, func(ctx context.Context) (idempotency.Response, error) {
				if _, err := handler(ctx); err == nil {
					return idempotency.Response{}, errors.New("it did not fail")
				}
				return idempotency.Response{}, errors.Join(w.do(ctx, "atomic two"), errDown)
			})
			require.ErrorIs(t, err, errDown)
			two := w.pending()
			require.Equal(t, left.Request, two.Request)
			require.Contains(t, string(two.Steps), "new")
			require.Equal(t, left.Fingerprint, two.Fingerprint, "the one that everything in the row was sealed for")
			w.wantDone("one", "two")

			fails.Store(false)
			ends := func(ctx context.Context) (idempotency.Response, error) {
				response, err := handler(ctx)
				return response, errors.Join(err, w.do(ctx, "atomic two"))
			}
			if by == "a retry" {
				_, err = rotated.Run(t.Context(), further, ends)
				require.NoError(t, err)
			} else {
				completer, err := idempotency.NewCompleter(rotated, func(ctx context.Context, pending idempotency.Pending) error {
					require.Equal(t, "card "+secret, string(pending.Request))
					resuming, _ := idempotency.Resuming(ctx)
					require.Equal(t, pending, *resuming)
					_, err := rotated.Run(ctx, further, ends)
					return err
				}, idempotency.CompleterConfig{})
				require.NoError(t, err)
				pass, err := completer.Pass(t.Context())
				require.NoError(t, err)
				require.Equal(t, idempotency.Pass{Found: 1, Completed: 1}, pass)
			}
			w.wantDone()
			result, err := rotated.Run(t.Context(), further, never(t))
			wantTold(t, result, err)
		})
	}
}

func TestAPendingRowThatDoesNotOpenIsNotResumedAndStays(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(key *idempotency.Key, p *idempotency.Progress)
		config func(t *testing.T) idempotency.Config
		says   string
	}{
		"a lost key":             {nil, func(t *testing.T) idempotency.Config { return idempotency.Config{Sealer: keys(t, "x")} }, `give key "a" back`},
		"sealing turned off":     {nil, func(*testing.T) idempotency.Config { return idempotency.Config{} }, "Config.Sealer is not set"},
		"moved":                  {func(key *idempotency.Key, _ *idempotency.Progress) { key.Value = "payment-2" }, nil, "moved here"},
		"another fingerprint":    {func(_ *idempotency.Key, p *idempotency.Progress) { p.Fingerprint[5]++ }, nil, "moved here"},
		"request in the list":    {func(_ *idempotency.Key, p *idempotency.Progress) { p.Steps = p.Request }, nil, "moved here"},
		"plain steps":            {func(_ *idempotency.Key, p *idempotency.Progress) { p.Steps = []byte("\x01a\x03one\x01x") }, nil, "is not sealed"},
		"no steps":               {func(_ *idempotency.Key, p *idempotency.Progress) { p.Steps = nil }, nil, "is not sealed"},
		"a list that ends early": {func(_ *idempotency.Key, p *idempotency.Progress) { p.Steps = p.Steps[:len(p.Steps)-1] }, nil, "moved here"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var fails atomic.Bool
			fails.Store(true)
			sealing := func(t *testing.T) idempotency.Config { return idempotency.Config{Sealer: keys(t, "a")} }
			_, err := w.engine(sealing(t)).Run(t.Context(), describing, w.card(&fails))
			require.Error(t, err)
			w.wantDone("one")
			left, to := w.pending(), describing
			if c.change != nil {
				c.change(&to.Key, &left.Progress)
				changed := newWorld(t)
				attempt, _, err := changed.store.Claim(t.Context(), to.Key)
				require.NoError(t, err)
				chain := attempt.(idempotency.Chain)
				require.NoError(t, chain.Save(t.Context(), left.Progress, time.Minute))
				require.NoError(t, chain.Yield(t.Context(), left.Progress))
				w = changed
			}
			if c.config == nil {
				c.config = sealing
			}
			left = w.pending()
			engine := w.engine(c.config(t))
			wantUnreadable(t, engine, to, c.says)
			require.Equal(t, left, w.pending(), "the row stays")

			completer, err := idempotency.NewCompleter(engine, func(ctx context.Context, pending idempotency.Pending) error {
				_, err := engine.Run(ctx, to, never(t))
				return err
			}, idempotency.CompleterConfig{})
			require.NoError(t, err)
			pass, err := completer.Pass(t.Context())
			require.NoError(t, err)
			require.Equal(t, idempotency.Pass{Found: 1, Pending: 1}, pass)
			tried := w.pending()
			require.Equal(t, 1, tried.Completions, "it counts, so that it is given up one day")
			require.Equal(t, left.Steps, tried.Steps)
			require.Equal(t, left.Request, tried.Request)
			require.Contains(t, tried.LastError, "record-unreadable")

			if c.change == nil { // and with the key, all is as it was
				fails.Store(false)
				_, err = w.engine(sealing(t)).Run(t.Context(), to, w.card(&fails))
				require.NoError(t, err)
				w.wantDone()
			}
		})
	}
}

func TestARequestThatDoesNotOpenIsNotMade(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(p *idempotency.Progress){
		"steps in its place": func(p *idempotency.Progress) { p.Request = p.Steps },
		"plain":              func(p *idempotency.Progress) { p.Request = []byte("transfer everything") },
		"empty":              func(p *idempotency.Progress) { p.Request = []byte{} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var fails atomic.Bool
			fails.Store(true)
			engine := w.engine(idempotency.Config{Sealer: keys(t, "a")})
			_, err := engine.Run(t.Context(), describing, w.card(&fails))
			require.Error(t, err)
			attempt, _, err := w.store.Claim(t.Context(), describing.Key)
			require.NoError(t, err)
			progress := w.progressOf(attempt)
			change(&progress)
			require.NoError(t, attempt.(idempotency.Chain).Yield(t.Context(), progress))
			completer, err := idempotency.NewCompleter(engine, func(context.Context, idempotency.Pending) error {
				t.Error("the request was made")
				return nil
			}, idempotency.CompleterConfig{})
			require.NoError(t, err)
			pass, err := completer.Pass(t.Context())
			require.NoError(t, err)
			require.Equal(t, idempotency.Pass{Found: 1, Pending: 1}, pass)
			require.Equal(t, "record-unreadable", w.pending().LastError)

			fails.Store(false)
			_, err = engine.Run(t.Context(), describing, w.card(&fails))
			require.NoError(t, err, "a client brings its own")
		})
	}
}

func (w *world) progressOf(attempt idempotency.Attempt) idempotency.Progress {
	return *attempt.(idempotency.Chain).Progress()
}

// Sealed twice, the same list is not the same text. What the client is told must not depend on that.
func TestAForeignCallInDoubtIsTheSameErrorWithSealing(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]idempotency.Config{"plain": {}, "sealed": {Sealer: keys(t, "a")}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			engine := w.engine(config)
			down := func(ctx context.Context) error {
				_, err := idempotency.Foreign(ctx, "charge", func(context.Context, string) (string, error) { return "", errDown })
				return err
			}
			_, err := engine.Run(t.Context(), request, func(ctx context.Context) (idempotency.Response, error) {
				return idempotency.Response{}, down(ctx)
			})
			require.ErrorIs(t, err, errDown)
			before := w.pending()
			_, err = engine.Run(t.Context(), request, func(ctx context.Context) (idempotency.Response, error) {
				require.ErrorIs(t, down(ctx), errDown)
				return idempotency.Response{Status: 201}, w.do(ctx, "atomic another")
			})
			require.ErrorIs(t, err, idempotency.ErrStepsChanged)
			require.Equal(t, before.Steps, w.pending().Steps)
		})
	}
}

// reported is what a driver returns for what the database says.
type reported struct{ text, state string }

func (r *reported) Error() string    { return r.text }
func (r *reported) SQLState() string { return r.state }

func TestWhatARowSaysOfAnErrorHoldsNoData(t *testing.T) {
	t.Parallel()
	server := &reported{`invalid input syntax for type uuid: "` + secret + `"`, "22P02"}
	for _, c := range []struct {
		err           error
		plain, sealed string
	}{
		{errors.New("bob: " + secret), "bob: " + secret, "internal"},
		{server, "SQLSTATE 22P02", "internal, SQLSTATE 22P02"},
		{errors.Join(errDown, idempotency.ErrTransactionConflict.Because(server)), "SQLSTATE 22P02", "transaction-conflict, SQLSTATE 22P02"},
		{errors.Join(server, &reported{secret + " exists", "23505"}), "SQLSTATE 22P02\nSQLSTATE 23505", "internal, SQLSTATE 22P02, SQLSTATE 23505"},
		{&reported{secret, secret}, "SQLSTATE ?????", "internal, SQLSTATE ?????"},
		{fmt.Errorf("bob: %w", server), "bob: SQLSTATE 22P02", "internal, SQLSTATE 22P02"},
		{fmt.Errorf("bob: %s", "words of his own: "+secret), "bob: words of his own: " + secret, "internal"},
		{&idempotency.Error{Code: secret}, "", "internal"},
		{errors.New(strings.Repeat("x", 499) + "ä\x00"), strings.Repeat("x", 499) + "?", "internal"},
	} {
		for _, sealed := range []bool{false, true} {
			w := newWorld(t)
			config, want := idempotency.Config{}, c.plain
			if sealed {
				config.Sealer, want = keys(t, "a"), c.sealed
			}
			_, err := w.engine(config).Run(t.Context(), request, w.program(c.err, "atomic one"))
			require.Error(t, err)
			got := w.pending().LastError
			if sealed {
				require.Equal(t, want, got)
			} else {
				require.Contains(t, got, want)
				require.NotContains(t, got, "uuid")
			}
		}
	}
	w := newWorld(t)
	_, err := w.engine(idempotency.Config{Sealer: keys(t, "a")}).Run(t.Context(), request, func(ctx context.Context) (idempotency.Response, error) {
		return idempotency.Response{Status: 503, Body: []byte(secret)}, w.do(ctx, "atomic one")
	})
	require.NoError(t, err)
	require.Equal(t, "the handler answered 503", w.pending().LastError)
}
