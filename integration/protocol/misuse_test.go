package protocol

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

func TestAKeyIsCompletedByTheTransactionThatHasBegunItAndNoOther(t *testing.T) {
	t.Parallel()
	answer := idempotency.Response{Status: 200, Body: []byte("answer")}
	for name, use := range map[string]func(w *world, q querier) error{
		"completed without having been begun": func(w *world, q querier) error { return w.tryComplete(q, answer) },
		"saved without having been begun": func(w *world, q querier) error {
			_, err := q.Exec(w.t.Context(), `SELECT idempotency_checkpoint($1, $2, $3, 'a', '')`, w.key.Scope, w.key.Value, w.print[:])
			return err
		},
		"begun in a transaction that was committed since": func(w *world, q querier) error {
			w.wantBegun(q)
			_, err := q.Exec(w.t.Context(), `COMMIT AND CHAIN`)
			require.NoError(w.t, err)
			return w.tryComplete(q, answer)
		},
		"begun in a savepoint that was rolled back": func(w *world, q querier) error {
			_, err := q.Exec(w.t.Context(), `SAVEPOINT before`)
			require.NoError(w.t, err)
			w.wantBegun(q)
			_, err = q.Exec(w.t.Context(), `ROLLBACK TO before`)
			require.NoError(w.t, err)
			return w.tryComplete(q, answer)
		},
		"begun as another key": func(w *world, q querier) error {
			w.wantBegun(q)
			w.key.Value += "0"
			return w.tryComplete(q, answer)
		},
		"begun as a key that goes on as its claim is noted": func(w *world, q querier) error {
			w.wantBegun(q)
			w.key.Value += "\x1f1"
			return w.tryComplete(q, answer)
		},
		"begun in a scope that goes on as its claim is noted": func(w *world, q querier) error {
			w.key = idempotency.Key{Scope: w.schema, Value: "1"} // which is the attempt's number, too
			w.wantBegun(q)
			w.key.Scope += "\x1f1"
			return w.tryComplete(q, answer)
		},
		"begun with another fingerprint": func(w *world, q querier) error {
			w.wantBegun(q)
			w.print[1]++
			return w.tryComplete(q, answer)
		},
		"begun twice": func(w *world, q querier) error {
			w.wantBegun(q)
			_, err := w.tryBegin(q)
			return err
		},
		"in progress elsewhere": func(w *world, q querier) error {
			other := w.tx()
			w.wantBegun(other)
			require.Equal(w.t, "in_progress", w.begin(q).Outcome)
			w.rollback(other)
			return w.tryComplete(q, answer)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			tx := w.tx()
			w.pay(tx)
			w.wantState(use(w, tx), misused)
			_ = tx.Rollback(t.Context())
			require.Zero(t, w.count(`SELECT count(*) FROM idempotency_keys`))
		})
	}
}

func TestASecondRecordIsAnErrorThatUndoesTheTransaction(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tx := w.tx()
	w.wantBegun(tx)
	require.NoError(t, w.tryComplete(tx, everyByte()))
	require.Equal(t, "replay", w.begin(tx).Outcome)
	w.pay(tx)
	w.wantState(w.tryComplete(tx, everyByte()), duplicate)
	require.Error(t, tx.Commit(t.Context()))
	w.wantEffects(0)
}

func TestOneTransactionMayHaveManyKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tx := w.tx()
	first := w.key.Value
	for _, suffix := range []string{"-aa", "-a", "-b"} {
		w.key.Value = first + suffix
		w.wantBegun(tx)
	}
	for _, suffix := range []string{"-b", "-a", "-aa"} {
		w.key.Value = first + suffix
		require.NoError(t, w.tryComplete(tx, everyByte()))
	}
	w.commit(tx)
	require.Equal(t, 3, w.count(`SELECT count(*) FROM idempotency_keys`))
}

func TestKeysOfScopesThatEndAlikeAreKeptApartInOneTransaction(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tx := w.tx()
	for _, scope := range []string{"malice", "alice"} {
		w.key.Scope = scope
		w.wantBegun(tx)
	}
	w.checkpoint(tx, "a", w.step(nil, "a", "1", "atomic"))
	w.key.Scope = "malice"
	require.NoError(t, w.tryComplete(tx, everyByte()))
	w.commit(tx)
	require.Equal(t, 1, w.count(`SELECT count(*) FROM idempotency_keys WHERE scope = 'malice' AND state = 'completed'`))
	require.Equal(t, 1, w.count(`SELECT count(*) FROM idempotency_keys WHERE scope = 'alice' AND state = 'pending'`))
}

func TestATokenThatIsNotTheKeysIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other := make([]byte, 16)
	_, err := w.tryBegin(w.pool, other)
	w.wantState(err, lost) // there is no row
	tx := w.tx()
	w.wantBegun(tx)
	_, err = tx.Exec(t.Context(), `SELECT idempotency_complete($1, $2, $3, 200, '', '', '1 hour', $4)`, w.key.Scope, w.key.Value, w.print[:], other)
	w.wantState(err, lost)
	w.rollback(tx)

	tx = w.tx()
	w.wantBegun(tx)
	token := w.checkpoint(tx, "a", w.step(nil, "a", "1", "atomic"))
	w.commit(tx)
	_, err = w.tryBegin(w.pool, other)
	w.wantState(err, lost)
	require.False(t, w.release(w.pool, other))
	tx = w.tx()
	w.wantBegun(tx, token)
	_, err = tx.Exec(t.Context(), `SELECT idempotency_complete($1, $2, $3, 200, '', '', '1 hour', $4)`, w.key.Scope, w.key.Value, w.print[:], token)
	require.NoError(t, err)
	w.commit(tx)
	require.Equal(t, "replay", w.begin(w.pool, token).Outcome, "whoever has lost the reply to its COMMIT asks again")
}

func TestWhatCannotBeStoredIsRefused(t *testing.T) {
	t.Parallel()
	const complete = `SELECT idempotency_complete($1, $2, $3, `
	for name, sql := range map[string]string{
		"a status of no response":           complete + `99, '', '')`,
		"an informational status":           complete + `103, '', '')`,
		"a status that is NULL":             complete + `NULL, '', '')`,
		"no retention":                      complete + `200, '', '', '0')`,
		"a retention that is NULL":          complete + `200, '', '', NULL)`,
		"a header without a line break":     complete + `200, 'A: b', '')`,
		"a header with half a line break":   complete + `200, E'A: b\n', '')`,
		"a header without a value":          complete + `200, E'A\r\n', '')`,
		"a header's name in small letters":  complete + `200, E'content-type: b\r\n', '')`,
		"a header's name with a space":      complete + `200, E'A b: b\r\n', '')`,
		"a control character in a header":   complete + `200, decode('413a20010d0a', 'hex'), '')`,
		"a zero in a header":                complete + `200, decode('413a20000d0a', 'hex'), '')`,
		"a cookie":                          complete + `200, E'A: b\r\nSet-Cookie: c\r\n', '')`,
		"a date":                            complete + `200, E'Date: now\r\n', '')`,
		"a recovery point without a name":   `SELECT idempotency_checkpoint($1, $2, $3, NULL, '')`,
		"a recovery point with a long name": `SELECT idempotency_checkpoint($1, $2, $3, repeat('a', 101), '')`,
		"a recovery point with a tab":       `SELECT idempotency_checkpoint($1, $2, $3, E'a\t', '')`,
		"a recovery point without steps":    `SELECT idempotency_checkpoint($1, $2, $3, 'a', NULL)`,
		"a lease of no time":                `SELECT idempotency_checkpoint($1, $2, $3, 'a', '', NULL, '0')`,
		"a lease that is NULL":              `SELECT idempotency_checkpoint($1, $2, $3, 'a', '', NULL, NULL)`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			tx := w.tx()
			w.wantBegun(tx)
			_, err := tx.Exec(t.Context(), sql, w.key.Scope, w.key.Value, w.print[:])
			w.wantState(err, invalid)
			require.ErrorIs(t, tx.Commit(t.Context()), pgx.ErrTxCommitRollback)
		})
	}
	w := newWorld(t)
	for name, args := range map[string][]any{
		"a short fingerprint": {"s", "k", make([]byte, 32), nil}, "no fingerprint": {"s", "k", nil, nil}, "a short token": {"s", "k", w.print[:], []byte("short")},
		"no scope": {nil, "k", w.print[:], nil}, "no key": {"s", nil, w.print[:], nil},
	} {
		_, err := w.pool.Exec(t.Context(), `SELECT idempotency_begin($1, $2, $3, $4)`, args...)
		require.Error(t, err, name)
		require.Contains(t, err.Error(), invalid, name)
	}
}

func TestTheFunctionsTakeTheKeysThatGoTakes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	texts := []string{"", " ", "\u00a0", "\u2003\u3000 ", "\u200b", "a", " a ", "ü", "💸", strings.Repeat("k", 255), strings.Repeat("k", 256), strings.Repeat("ü", 127),
		strings.Repeat("ü", 128), `\`, `'`, `"`, "%_", "$1", "a;b 1", "\u202e", "\ufeff", "\ufffd", "\u1680", "\u2028", "\u205f", "\u180e", "\u00ad"}
	for c := range rune(0x100) {
		if c > 0 { // PostgreSQL's texts have none
			texts = append(texts, string(c), "a"+string(c))
		}
	}
	for _, text := range texts {
		for _, key := range []idempotency.Key{{Scope: w.schema, Value: text}, {Scope: text, Value: w.schema}} {
			_, err := w.pool.Exec(t.Context(), `SELECT idempotency_begin($1, $2, $3)`, key.Scope, key.Value, w.print[:])
			if key.Check() == nil {
				require.NoError(t, err, "%q", text)
			} else {
				w.wantCode(err, invalid, text)
			}
		}
	}
}

func (w *world) wantCode(err error, state, text string) {
	w.t.Helper()
	require.Error(w.t, err, "%q", text)
	require.Contains(w.t, err.Error(), state, "%q", text)
}
