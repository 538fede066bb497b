package protocol

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/pgstore"
)

// ride is the handler of a chain in Go: two steps and a tail. It fails before the step that fails names.
func (w *world) ride(ran *[]string, fails string) func(ctx context.Context) (idempotency.Response, error) {
	step := func(ctx context.Context, name string) (string, error) {
		return idempotency.Atomic(ctx, name, func(ctx context.Context) (string, error) {
			if fails == name {
				return "", errors.New("the step fails")
			}
			*ran = append(*ran, name)
			_, err := pgstore.Tx(ctx).Exec(ctx, `INSERT INTO effects VALUES ($1)`, name)
			return "of " + name, err
		})
	}
	return func(ctx context.Context) (idempotency.Response, error) {
		first, err := step(ctx, "ride")
		if err != nil {
			return idempotency.Response{}, err
		}
		charged, err := idempotency.Foreign(ctx, "charge", func(_ context.Context, key string) (string, error) {
			if fails == "charge" {
				return "", errors.New("the provider is away")
			}
			*ran = append(*ran, "charge by "+key)
			return "charged", nil
		})
		if err != nil {
			return idempotency.Response{}, err
		}
		return idempotency.Response{Status: 201, Body: []byte(first + ", " + charged)}, nil
	}
}

func TestAChainBegunByTheFunctionsIsFinishedInGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tx := w.tx()
	require.Equal(t, 1, *w.wantBegun(tx).Attempt)
	_, err := tx.Exec(t.Context(), `INSERT INTO effects VALUES ('ride')`)
	require.NoError(t, err)
	steps := w.step(nil, "ride", `"of ride"`, "atomic")
	token := w.checkpoint(tx, "ride", steps)
	w.commit(tx)
	var ran []string
	_, err = w.run(w.ride(&ran, ""))
	require.ErrorIs(t, err, idempotency.ErrInProgress, "the lease lasts")

	// The foreign call is about to be made, and its attempt ends in the middle.
	tx = w.tx()
	b := w.wantBegun(tx, token)
	require.Equal(t, 1, *b.Attempt, "the same attempt goes on")
	token = w.checkpoint(tx, "ride", w.step(b.Steps, "charge", "", "doubt"))
	w.commit(tx)
	require.True(t, w.release(w.pool, token))

	result, err := w.run(w.ride(&ran, ""))
	require.NoError(t, err)
	require.Equal(t, "of ride, charged", string(result.Response.Body))
	var foreign string
	require.NoError(t, w.pool.QueryRow(t.Context(), `SELECT idempotency_foreign_key($1, $2, 'charge')`, w.key.Scope, w.key.Value).Scan(&foreign))
	require.Equal(t, []string{"charge by " + foreign}, ran, "the first step is not run again, and the call has one key in both languages")
	w.wantReplay(result.Response)
	require.Equal(t, 2, w.count(`SELECT attempt FROM idempotency_keys`))
	w.wantEffects(1)
}

func TestAChainBegunInGoIsFinishedByTheFunctions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var ran []string
	_, err := w.run(w.ride(&ran, "charge"))
	require.Error(t, err)
	require.Equal(t, []string{"ride"}, ran)
	const failed = `SELECT count(*) FROM idempotency_keys WHERE last_error IS `
	require.Equal(t, 1, w.count(failed+`NOT NULL`))

	tx := w.tx()
	b := w.wantBegun(tx)
	require.Equal(t, 2, *b.Attempt)
	require.Equal(t, "ride", *b.RecoveryPoint)
	rows, err := tx.Query(t.Context(), `SELECT name || ' ' || kind || ' ' || convert_from(result, 'UTF8') FROM idempotency_steps($1)`, b.Steps)
	require.NoError(t, err)
	var found []string
	for rows.Next() {
		var text string
		require.NoError(t, rows.Scan(&text))
		found = append(found, text)
	}
	require.NoError(t, rows.Err())
	require.Equal(t, []string{`ride atomic "of ride"`, `charge doubt `}, found)

	_, err = w.run(w.ride(&ran, ""))
	require.ErrorIs(t, err, idempotency.ErrInProgress, "the functions hold its lock")
	token := w.checkpoint(tx, "charge", w.step(b.Steps, "charge", `"charged"`, "foreign"))
	w.commit(tx)
	_, err = w.run(w.ride(&ran, ""))
	require.ErrorIs(t, err, idempotency.ErrInProgress, "the lease lasts")
	require.Equal(t, 1, w.count(failed+`NULL`))

	tx = w.tx()
	w.wantBegun(tx, token)
	require.NoError(t, w.tryComplete(tx, idempotency.Response{Status: 201, Body: []byte("done")}))
	w.commit(tx)
	w.wantReplayed(idempotency.Response{Status: 201, Body: []byte("done")})
	require.Equal(t, 1, w.count(`SELECT count(*) FROM idempotency_keys WHERE attempt = 2
		AND steps IS NULL AND request IS NULL AND owner IS NULL AND leased_until IS NULL AND last_error IS NULL`))
	require.Equal(t, []string{"ride"}, ran)
	w.wantEffects(1)
}

// A whole chain of the functions' own, with a save and a completion in one transaction at its end.
func TestAChainMayEndInTheTransactionOfItsLastStep(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tx := w.tx()
	w.wantBegun(tx)
	_, err := tx.Exec(t.Context(), `SELECT idempotency_checkpoint($1, $2, $3, 'a', $4, 'the request')`, w.key.Scope, w.key.Value, w.print[:],
		w.step(nil, "a", "1", "atomic"))
	require.NoError(t, err)
	token := w.checkpoint(tx, "b", w.step(w.step(nil, "a", "1", "atomic"), "b", "2", "atomic"))
	require.Equal(t, 1, w.countIn(tx, `SELECT attempt FROM idempotency_keys WHERE request = 'the request'`))
	require.NoError(t, w.tryComplete(tx, everyByte()))
	w.commit(tx)
	w.wantReplayed(everyByte())
	require.Equal(t, 1, w.count(`SELECT count(*) FROM idempotency_keys WHERE request IS NULL`))
	require.False(t, w.release(w.pool, token), "there is no lease any more")
}

func (w *world) countIn(q querier, sql string) (n int) {
	w.t.Helper()
	require.NoError(w.t, q.QueryRow(w.t.Context(), sql).Scan(&n))
	return n
}

// An owner whose lease is over may go on until somebody has taken over, and not from then on.
func TestAnOwnerThatWasOvertakenChangesNothing(t *testing.T) {
	t.Parallel()
	steps := func(w *world) []byte { return w.step(nil, "a", "1", "atomic") }
	for name, overtake := range map[string]func(w *world){
		"by the functions": func(w *world) {
			tx := w.tx()
			b := w.wantBegun(tx)
			require.Equal(w.t, 2, *b.Attempt)
			w.checkpoint(tx, "a", b.Steps)
			w.commit(tx)
		},
		"by Go": func(w *world) {
			_, err := w.run(func(ctx context.Context) (idempotency.Response, error) {
				_, _ = idempotency.Atomic(ctx, "a", func(context.Context) (int, error) { return 0, errors.New("done before") })
				_, err := idempotency.Atomic(ctx, "b", func(context.Context) (int, error) { return 2, nil })
				require.NoError(w.t, err)
				return idempotency.Response{}, errors.New("and then it fails")
			})
			require.Error(w.t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			tx := w.tx()
			w.wantBegun(tx)
			token := w.checkpoint(tx, "a", steps(w))
			w.commit(tx)
			w.endLease()

			tx = w.tx()
			w.wantBegun(tx, token) // nobody has come meanwhile
			token = w.checkpoint(tx, "a", steps(w))
			w.commit(tx)
			w.endLease()
			overtake(w)

			tx = w.tx()
			_, err := w.tryBegin(tx, token)
			w.wantState(err, lost)
			w.rollback(tx)
			require.False(t, w.release(w.pool, token))
		})
	}
}

// The lock keeps two attempts apart, and the token decides where it does not.
func TestOfTwoAttemptsAtAChainTheTokenLetsOneThrough(t *testing.T) {
	t.Parallel()
	for name, act := range map[string]func(w *world, q querier) error{
		"to complete": func(w *world, q querier) error { return w.tryComplete(q, everyByte()) },
		"to save": func(w *world, q querier) error {
			var token []byte
			return q.QueryRow(w.t.Context(), `SELECT idempotency_checkpoint($1, $2, $3, 'a', ''::bytea)`, w.key.Scope, w.key.Value, w.print[:]).Scan(&token)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			tx := w.tx()
			w.wantBegun(tx)
			token := w.checkpoint(tx, "a", w.step(nil, "a", "1", "atomic"))
			w.commit(tx)
			w.release(w.pool, token)

			tx = w.tx()
			w.wantBegun(tx)
			w.pay(tx)
			w.exec(`UPDATE idempotency_keys SET owner = decode(repeat('ab', 16), 'hex')`)
			w.wantState(act(w, tx), lost)
			w.rollback(tx)
			w.wantEffects(0)
		})
	}
}

func TestAListOfStepsIsReadStrictly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	good := w.step(w.step(nil, "a", string(make([]byte, 20_000)), "atomic"), "b", "2", "foreign")
	require.Equal(t, 2, w.count(`SELECT count(*) FROM idempotency_steps($1)`, good))
	require.Equal(t, 20_000, w.count(`SELECT octet_length(result) FROM idempotency_steps($1) WHERE name = 'a'`, good))
	require.Zero(t, w.count(`SELECT count(*) FROM idempotency_steps(NULL)`))
	doubt := w.step(good, "c", "", "doubt")
	require.Equal(t, w.step(good, "c", "3", "foreign"), w.step(doubt, "c", "3", "foreign"), "a call in doubt gives way to its result")
	for name, list := range map[string][]byte{
		"another version":     append([]byte{2}, good[1:]...),
		"an unknown kind":     {1, 'x', 1, 'a', 0},
		"cut off":             good[:len(good)-1],
		"cut off in a length": good[:len(good)-2],
		"cut off in a name":   good[:len(good)-3],
		"a length too long":   {1, 'a', 0xff, 0xff, 0xff, 0xff, 0xff, 1},
		"a length's length":   {1, 'a', 0x81, 0x80, 0x80, 0x80, 0x80, 0, 'a', 0},
		"a step behind doubt": append(doubt[:len(doubt):len(doubt)], good[1:]...),
		"sealed":              append([]byte{0xe1}, good[1:]...),
	} {
		_, err := w.pool.Exec(t.Context(), `SELECT idempotency_steps($1)`, list)
		require.Error(t, err, name)
		w.wantState(err, unreadable)
	}
	for _, c := range [][2]string{{"", "atomic"}, {" ", "atomic"}, {"a\nb", "atomic"}, {strings.Repeat("a", 101), "atomic"}, {"a", "other"}} {
		_, err := w.pool.Exec(t.Context(), `SELECT idempotency_step_add(NULL, $1, '', $2)`, c[0], c[1])
		w.wantState(err, invalid)
	}
}
