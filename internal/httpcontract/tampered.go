package httpcontract

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

var tamperedTests = []test{
	{"a completed row that somebody changed is no answer and no second run", aTamperedCompletedRowIsNoAnswer},
	{"a pending row that somebody changed is not resumed", aTamperedPendingRowIsNotResumed},
	{"a row that somebody changed keeps the completer from no other", aTamperedRowKeepsTheCompleterFromNoOther},
	{"a row that somebody changed keeps the reaper from no other", aTamperedRowKeepsTheReaperFromNoOther},
}

// everyConstraint makes the table take what the store never writes.
const everyConstraint = `ALTER TABLE idempotency_keys ALTER fingerprint DROP NOT NULL, ALTER attempt DROP NOT NULL, ALTER created_at DROP NOT NULL`

// tamperedCompleted are what could be made of a completed row, by column.
var tamperedCompleted = []string{
	`status = NULL`, `status = 0`, `status = -1`, `status = -32768`, `status = 99`, `status = 101`, `status = 199`, `status = 600`, `status = 32767`,
	`headers = NULL`, `headers = '\x00'`, `headers = 'Etag'`, `headers = substr(headers, 1, octet_length(headers) - 1)`,
	`headers = substr(headers, 1, octet_length(headers) - 2)`, `headers = substr(headers, 2)`, `headers = headers || 'x'`, `headers = headers || '\x0d0a'`,
	`headers = convert_to(E'Etag: x\r\nSet-Cookie: a=b\r\n', 'UTF8')`, `headers = convert_to(E'Etag: x\nSet-Cookie: a=b\r\n', 'UTF8')`,
	`headers = convert_to(E'Etag: x\rSet-Cookie: a=b\r\n', 'UTF8')`, `headers = convert_to(E'Etag: x\r\n\r\n<script>', 'UTF8')`,
	`headers = convert_to(E'Transfer-Encoding: chunked\r\n', 'UTF8')`, `headers = convert_to(E'Content-Length: 1\r\n', 'UTF8')`,
	`headers = decode(repeat('ff', 100000), 'hex')`,
	`body = NULL`,
	`fingerprint = NULL`, `fingerprint = ''`, `fingerprint = substr(fingerprint, 1, 32)`, `fingerprint = fingerprint || '\x00'`, `fingerprint = decode(repeat('00', 100000), 'hex')`,
	`state = ''`, `state = 'Completed'`, `state = 'completed '`, `state = 'done'`, `state = 'pending'`, `state = repeat('x', 100000)`,
}

// tamperedPending are what could be made of a pending row that has done one step.
var tamperedPending = []string{
	`fingerprint = NULL`, `fingerprint = ''`, `fingerprint = substr(fingerprint, 1, 32)`, `fingerprint = fingerprint || '\x00'`,
	`owner = NULL`, `owner = ''`, `owner = substr(owner, 1, 15)`, `owner = owner || '\x00'`, `owner = decode(repeat('00', 100000), 'hex')`,
	`completions = -1`, `completions = -2147483648`, `attempt = NULL`, `attempt = -1`, `attempt = -2147483648`, `attempt = 2147483647`,
	`steps = NULL`, `steps = ''`, `steps = '\x01'`, `steps = '\x02'`, `steps = substr(steps, 1, octet_length(steps) - 1)`, `steps = substr(steps, 2)`,
	`steps = substr(steps, 1, 2)`, `steps = steps || '\x61'`, `steps = steps || '\x00'`, `steps = '\x0161ffffffffffffffffff01'`, `steps = '\x01618080808080808080808001'`,
	`steps = decode(repeat('ab', 3000000), 'hex')`, `steps = '\x01' || decode(repeat('610000', 100000), 'hex')`,
	`recovery_point = NULL`, `recovery_point = ''`, `recovery_point = 'another'`,
	`state = 'PENDING'`, `state = ''`, `state = 'archived'`, `state = 'completed'`,
}

// tamper changes the row of key by hand.
func (w *world) tamper(key, set string) {
	w.Helper()
	tag, err := w.pool.Exec(w.Context(), `UPDATE idempotency_keys SET `+set+` WHERE key = $1`, key)
	require.NoError(w, err)
	require.EqualValues(w, 1, tag.RowsAffected())
}

// row is all that stands in the row of key.
func (w *world) row(key string) (text string) {
	w.Helper()
	require.NoError(w, w.pool.QueryRow(w.Context(), `SELECT md5(row(k.*)::text) FROM idempotency_keys k WHERE key = $1`, key).Scan(&text))
	return text
}

func aTamperedCompletedRowIsNoAnswer(w *world) {
	if w.pool == nil {
		return // there are no rows
	}
	_, err := w.pool.Exec(w.Context(), everyConstraint)
	require.NoError(w, err)
	for _, set := range tamperedCompleted {
		w.each(name(set), func(w *world) {
			key := w.key()
			route := w.route(func(writer http.ResponseWriter, r *http.Request) {
				w.effect(r.Context())
				writer.Header().Set("Etag", "secret")
				writer.WriteHeader(http.StatusCreated)
			})
			route.post(key, "{}").is(http.StatusCreated, "")
			route.ran(1)
			w.tamper(key, set)
			before := w.row(key)
			w.unreadable(route, key)
			require.Equal(w, before, w.row(key), "the row was touched")
		})
	}
}

func name(set string) string {
	return strings.NewReplacer(`\`, "", "'", "", "/", "").Replace(set[:min(len(set), 60)])
}

func aTamperedPendingRowIsNotResumed(w *world) {
	if w.pool == nil {
		return // there are no rows
	}
	w.recovers()
	_, err := w.pool.Exec(w.Context(), everyConstraint)
	require.NoError(w, err)
	for _, set := range tamperedPending {
		w.each(name(set), func(w *world) {
			key, ride := w.key(), w.ride().failing(errProvider)
			route := w.route(w.left)
			require.Equal(w, http.StatusServiceUnavailable, route.post(key, "{}").status)
			route.ran(1)
			w.tamper(key, set)
			before := w.row(key)
			for range 2 {
				for _, at := range []http.Handler{w.route(ride.ServeHTTP), w.route(w.pays(http.StatusCreated)), w.route(w.left)} {
					serve(w, at, post(key, "{}")).problem(idempotency.CodeRecordUnreadable)
				}
			}
			ride.did(0, 0)
			require.Equal(w, before, w.row(key), "the row was touched")
		})
	}
	w.hasEffects(len(tamperedPending)) // of the steps that were kept, and no other
}

// left is a handler that does one step, whose effect is kept, and then fails.
func (w *world) left(writer http.ResponseWriter, r *http.Request) {
	_, err := idempotency.Atomic(r.Context(), "begun", func(ctx context.Context) (int, error) {
		w.effect(ctx)
		return 1, nil
	})
	if err == nil {
		err = errors.New("and no further")
	}
	http.Error(writer, err.Error(), http.StatusServiceUnavailable)
}

func aTamperedRowKeepsTheCompleterFromNoOther(w *world) {
	if w.pool == nil {
		return // there are no rows
	}
	w.recovers()
	_, err := w.pool.Exec(w.Context(), everyConstraint)
	require.NoError(w, err)
	route := w.route(w.left)
	sets := append(tamperedPending[:len(tamperedPending):len(tamperedPending)],
		`completions = 2147483647`, `attempt = 0`,
		`leased_until = NULL, owner = NULL`, `leased_until = 'infinity'`, `leased_until = '294276-12-31 23:59:59'`, `leased_until = '-infinity', completions = 2`,
		`created_at = NULL, owner = NULL`, `created_at = '-infinity', owner = NULL`,
		`request = NULL`, `request = ''`, `request = '\x01'`, `request = '\x02'`, `request = substr(request, 1, octet_length(request) - 1)`, `request = request || '\x00'`,
		`request = decode(repeat('ff', 100000), 'hex')`, `request = decode('01ffffffffffffffffff01', 'hex')`,
		`last_error = repeat('x', 100000)`,
	)
	for _, set := range sets {
		key := w.key()
		require.Equal(w, http.StatusServiceUnavailable, route.post(key, "{}").status)
		w.tamper(key, set)
	}
	require.Equal(w, http.StatusServiceUnavailable, route.post("good", "{}").status)
	w.tamper("good", `created_at = 'infinity'`) // so that it comes last

	good := w.route(func(writer http.ResponseWriter, r *http.Request) {
		if _, err := idempotency.Atomic(r.Context(), "begun", func(context.Context) (int, error) { return 2, nil }); err != nil {
			http.Error(writer, "no", http.StatusServiceUnavailable)
		}
	})
	engine, err := idempotency.New(w.store, w.engineConfig())
	require.NoError(w, err)
	completer, err := idempotency.NewCompleter(engine, w.adapter.Resume(good, ResumeConfig{}), idempotency.CompleterConfig{Batch: 2, MaxAttempts: 1})
	require.NoError(w, err)
	passes, stuck := 0, 0
	for pass := (idempotency.Pass{Found: 1}); pass.Found > 0; passes++ {
		require.Less(w, passes, len(sets), "rows that cannot be resumed are tried again and again")
		pass, err = completer.Pass(w.Context())
		require.NoError(w, err)
		stuck = pass.Stuck
	}
	var state string
	require.NoError(w, w.pool.QueryRow(w.Context(), `SELECT state FROM idempotency_keys WHERE key = 'good'`).Scan(&state))
	require.Equal(w, "completed", state)
	var given int // what is left is told to the operator, but for what somebody seems to be working on
	require.NoError(w, w.pool.QueryRow(w.Context(), `SELECT count(*) FROM idempotency_keys WHERE state = 'pending' AND coalesce(leased_until, '-infinity') <= now()`).Scan(&given))
	require.Equal(w, given, stuck)
}

func aTamperedRowKeepsTheReaperFromNoOther(w *world) {
	if w.pool == nil {
		return // there are no rows
	}
	_, err := w.pool.Exec(w.Context(), everyConstraint)
	require.NoError(w, err)
	route := w.route(w.answers(http.StatusCreated))
	sets := append(tamperedCompleted[:len(tamperedCompleted):len(tamperedCompleted)],
		`completed_at = NULL`, `created_at = NULL`, `expires_at = '-infinity'`, `expires_at = NULL`, `expires_at = 'infinity'`)
	for _, set := range append(sets, `body = body`) {
		key := w.key()
		require.Equal(w, http.StatusCreated, route.post(key, "{}").status)
		w.tamper(key, `expires_at = now() - interval '1 second'`)
		w.tamper(key, set)
	}
	for range len(sets) {
		_, err := w.store.Reap(w.Context(), 2)
		require.NoError(w, err)
	}
	var completed, kept int
	require.NoError(w, w.pool.QueryRow(w.Context(), `SELECT count(*) FILTER (WHERE state = 'completed'), count(*) FILTER (WHERE state <> 'completed') FROM idempotency_keys`).Scan(&completed, &kept))
	require.Equal(w, 2, completed, "without an end, and with one that never comes")
	require.Equal(w, 6, kept, "what is not known to be completed")
}
