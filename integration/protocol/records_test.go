package protocol

import (
	"bytes"
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

func responses() map[string]idempotency.Response {
	return map[string]idempotency.Response{
		"every byte":       everyByte(),
		"nothing in it":    {Status: 204, Header: []byte{}, Body: []byte{}},
		"outside of HTTP":  {Status: 0, Header: []byte{}, Body: []byte("done")},
		"a large body":     {Status: 599, Header: []byte("Etag: \"1\"\r\n"), Body: bytes.Repeat([]byte("large"), 100_000)},
		"a header thrice":  {Status: 200, Header: []byte("Link: <a>\r\nLink: <b>\r\nX-B3-Id: 1\r\n"), Body: []byte("{}")},
		"a refusal":        {Status: 402, Header: []byte("Content-Type: application/json\r\n"), Body: []byte(`{"no":true}`)},
		"a body of a zero": {Status: 200, Header: []byte{}, Body: []byte{0}},
	}
}

func TestARecordOfEitherSideIsReplayedByTheOtherByteForByte(t *testing.T) {
	t.Parallel()
	for name, response := range responses() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.completes(response)
			w.wantReplayed(response)
			w.wantReplay(response)
			row := func() (text string) {
				require.NoError(t, w.pool.QueryRow(t.Context(), `SELECT to_jsonb(k) - '{key,created_at,completed_at,expires_at}'::text[]
					|| jsonb_build_object('kept', round(extract(epoch FROM expires_at - completed_at)), 'in one transaction', completed_at >= created_at)
					FROM idempotency_keys k WHERE key = $1`, w.key.Value).Scan(&text))
				return text
			}
			first := row()

			w.key.Value += "-2"
			answer := response
			if response.Status == 402 || response.Status >= 500 || response.Status == 0 { // what the policy would not complete
				w.engine = w.completing()
			}
			result, err := w.run(pays(answer))
			require.NoError(t, err)
			require.False(t, result.Replayed)
			w.wantReplay(response)
			w.wantReplayed(response)
			require.Equal(t, first, row(), "both sides write the same row")
			w.wantEffects(2)
		})
	}
}

// completing is an engine that completes whatever its handler answers.
func (w *world) completing() *idempotency.Engine {
	w.t.Helper()
	engine, err := idempotency.New(w.store, idempotency.Config{Policy: func(idempotency.Response, error) idempotency.Outcome { return idempotency.Complete }})
	require.NoError(w.t, err)
	return engine
}

func TestAKeyThatIsInProgressOnOneSideIsSoOnTheOther(t *testing.T) {
	t.Parallel()
	for i, name := range namespaces {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, i == 0)
			tx := w.tx()
			w.wantBegun(tx)
			_, err := w.run(pays(everyByte()))
			require.ErrorIs(t, err, idempotency.ErrInProgress)
			require.Equal(t, "in_progress", w.begin(w.pool).Outcome)
			w.rollback(tx)

			_, err = w.run(func(ctx context.Context) (idempotency.Response, error) {
				require.Equal(t, "in_progress", w.begin(w.pool).Outcome)
				return pays(everyByte())(ctx)
			})
			require.NoError(t, err)
			w.wantReplay(everyByte())
			w.wantEffects(1)
		})
	}
}

func TestAnotherRequestWithTheKeyIsAMismatchOnBothSides(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.completes(everyByte())
	own := w.print
	w.print[32]++
	require.Equal(t, "mismatch", w.begin(w.pool).Outcome)
	_, err := w.run(pays(everyByte()))
	require.ErrorIs(t, err, idempotency.ErrKeyReused)

	w.print, w.key.Value = own, w.key.Value+"-2"
	tx := w.tx()
	w.wantBegun(tx)
	token := w.checkpoint(tx, "a", w.step(nil, "a", "1", "atomic"))
	w.commit(tx)
	w.print[32]++
	require.Equal(t, "in_progress", w.begin(w.pool).Outcome, "the lease lasts, whoever asks")
	require.True(t, w.release(w.pool, token))
	require.Equal(t, "mismatch", w.begin(w.pool).Outcome)
	_, err = w.run(pays(everyByte()))
	require.ErrorIs(t, err, idempotency.ErrKeyReused)
	w.wantEffects(1)
}

func TestAKeyOfAnotherScopeIsAnotherKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.completes(everyByte())
	w.key.Scope = "bob"
	require.Equal(t, "execute", w.begin(w.pool).Outcome)
}

func TestAnExpiredRecordIsReplacedByEitherSide(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	expire := func() { w.exec(`UPDATE idempotency_keys SET expires_at = clock_timestamp() - interval '1 second'`) }
	w.completes(idempotency.Response{Status: 200, Body: []byte("first")})
	expire()
	second := idempotency.Response{Status: 200, Body: []byte("second")}
	_, err := w.run(pays(second))
	require.NoError(t, err)
	w.wantReplay(second)
	expire()
	third := idempotency.Response{Status: 200, Body: []byte("third")}
	w.completes(third)
	w.wantReplayed(third)
	expire()
	tx := w.tx()
	w.wantBegun(tx)
	token := w.checkpoint(tx, "a", w.step(nil, "a", "1", "atomic"))
	w.commit(tx)
	require.Equal(t, 1, w.count(`SELECT count(*) FROM idempotency_keys WHERE state = 'pending' AND status IS NULL AND expires_at IS NULL AND attempt = 1`))
	require.True(t, w.release(w.pool, token))
	w.wantEffects(3)

	reaped, err := w.store.Reap(t.Context(), 10)
	require.NoError(t, err)
	require.Zero(t, reaped.Deleted, "a pending key does not expire")
}

// What a row cannot be is an error: never an answer, and never a second run.
func TestADamagedRowIsAnErrorAndNeverAnAnswer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		pending bool
		change  string
	}{
		"a short fingerprint":                {false, `fingerprint = 'short'`},
		"no status":                          {false, `status = NULL`},
		"no headers":                         {false, `headers = NULL`},
		"no body":                            {false, `body = NULL`},
		"an unknown state":                   {false, `state = 'archived', expires_at = 'infinity'`},
		"an unknown state that has expired":  {false, `state = 'archived', expires_at = '-infinity'`},
		"a pending row's short fingerprint":  {true, `fingerprint = 'short'`},
		"a pending row without an owner":     {true, `owner = NULL`},
		"a pending row with a short owner":   {true, `owner = 'short'`},
		"a pending row that counts backward": {true, `attempt = -1`},
		"a pending row that counts too far":  {true, `attempt = 2147483647`},
		"a completer that counts backward":   {true, `completions = -1`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if c.pending {
				tx := w.tx()
				w.wantBegun(tx)
				token := w.checkpoint(tx, "a", w.step(nil, "a", "1", "atomic"))
				w.commit(tx)
				w.release(w.pool, token)
			} else {
				w.completes(everyByte())
			}
			w.exec(`UPDATE idempotency_keys SET ` + c.change)
			_, err := w.tryBegin(w.pool)
			w.wantState(err, unreadable)
		})
	}
}

func TestAKeyThatIsHeldIsForAnOperator(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tx := w.tx()
	w.wantBegun(tx)
	token := w.checkpoint(tx, "a", w.step(nil, "a", "1", "atomic"))
	w.commit(tx)
	w.release(w.pool, token)
	w.exec(`UPDATE idempotency_keys SET completions = 2147483647`)
	_, err := w.tryBegin(w.pool)
	w.wantState(err, held)
	w.exec(`UPDATE idempotency_keys SET completions = 0`)
	require.Equal(t, "execute", w.begin(w.pool).Outcome)
}

func TestAKeyThatIsLentIsInProgressUntilItIsSettled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	terms := idempotency.Terms{Owner: idempotency.NewOwnerToken(), Identity: idempotency.Identity{Fingerprint: w.print}, Lease: soon}
	lease, _, err := w.store.Acquire(t.Context(), w.key, terms)
	require.NoError(t, err)
	require.Equal(t, 1, lease.Attempt)
	require.Equal(t, "in_progress", w.begin(w.pool).Outcome)
	w.endLease()
	require.Equal(t, "in_progress", w.begin(w.pool).Outcome, "nobody knows whether it has happened")
	require.False(t, w.release(w.pool, terms.Owner[:]))
	want := everyByte()
	_, err = w.store.Settle(t.Context(), w.key, terms.Owner, &idempotency.Record{Fingerprint: w.print, Response: want}, soon)
	require.NoError(t, err)
	w.wantReplay(want)
}
