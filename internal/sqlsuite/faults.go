package sqlsuite

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/wireproxy"
	"github.com/onlyonce/onlyonce/sqlstore"
)

var faultScenarios = []scenario{
	{"a payment whose connection breaks at any statement is made once", func(w *world) {
		w.everywhere(func(w *world) error { _, err := w.run(pays(201)); return err }, func(w *world) {
			again, err := w.run(pays(500))
			if !strings.Contains(errorText(err), "closed") { // the world that has counted the statements is closed
				require.NoError(w, err)
				require.Equal(w, 201, again.Response.Status)
			}
			w.stored(1, 1)
		})
	}},
	{"a refusal whose connection breaks at any statement is kept, and nothing else", func(w *world) {
		w.everywhere(func(w *world) error { _, err := w.run(pays(402)); return err }, func(w *world) { w.stored(0, 1) })
	}},
	{"a record that replaces an expired one whose connection breaks at any statement is kept once", func(w *world) {
		w.everywhere(func(w *world) error {
			_, err := w.outside.Exec(w.Context(), `INSERT INTO idempotency_keys (scope, key, state, fingerprint, status, headers, body, created_at, completed_at, expires_at)
				VALUES ($1, $2, 'completed', $3, 200, '', 'old', now(), now(), now() - interval '1 hour') ON CONFLICT DO NOTHING`, w.key.Scope, w.key.Value, make([]byte, 33))
			require.NoError(w, err)
			_, err = w.run(pays(201))
			return err
		}, func(w *world) {
			w.stored(1, 1)
			require.Equal(w, 1, w.count(`SELECT count(*) FROM idempotency_keys WHERE body = 'answer'`))
		})
	}},
	{"a ride whose connection breaks at any statement is created and charged once", func(w *world) {
		p := &provider{}
		w.everywhere(func(w *world) error {
			_, err := w.chain(ride(p))
			if err != nil { // nobody waits for a lease here
				_, err := w.outside.Exec(w.Context(), `UPDATE idempotency_keys SET leased_until = now() WHERE state = 'pending'`)
				require.NoError(w, err)
			}
			return err
		}, func(w *world) {
			require.Equal(w, 1, w.effect("ride"))
			require.Equal(w, 1, w.effect("receipt"))
			w.stored(2, 1)
		})
	}},
	{"an attempt that gives up, renews or reaps writes in transactions alone", func(w *world) {
		proxy := w.behind(sqlstore.Config{})
		w.db.SetMaxOpenConns(2)
		require.NoError(w, w.store.Check(w.Context()))
		_, err := w.chain(ride(&provider{}))
		require.NoError(w, err)
		for _, status := range []int{201, 402, 500} {
			key := idempotency.Key{Scope: "alice", Value: w.schema + string(rune('a'+status%26))}
			_, err := w.engine.Run(w.Context(), idempotency.Request{Key: key}, func(ctx context.Context) (idempotency.Response, error) {
				return pays(status)(ctx, sqlstore.Tx(ctx))
			})
			require.NoError(w, err)
			_, err = w.keyless(pays(status))
			require.NoError(w, err)
		}
		_, err = w.outside.Exec(w.Context(), `UPDATE idempotency_keys SET expires_at = now()`)
		require.NoError(w, err)
		_, err = w.run(pays(201)) // in an expired record's place
		require.NoError(w, err)
		left := idempotency.Key{Scope: "bob", Value: w.schema}
		attempt, _, err := w.store.Claim(w.Context(), left)
		require.NoError(w, err)
		chain := attempt.(idempotency.Chain)
		progress := idempotency.Progress{Attempt: 1}
		require.NoError(w, chain.Detach(w.Context(), progress, patience))
		require.NoError(w, chain.Renew(w.Context(), patience))
		require.NoError(w, chain.Save(w.Context(), progress, patience))
		require.NoError(w, chain.Yield(w.Context(), progress))
		_, err = w.outside.Exec(w.Context(), `UPDATE idempotency_keys SET expires_at = now()`)
		require.NoError(w, err)
		_, err = w.store.Reap(w.Context(), 10)
		require.NoError(w, err)
		_, err = w.store.Pending(w.Context(), idempotency.Due{Limit: 10, MaxCompletions: 3})
		require.NoError(w, err)

		seen := map[string]bool{}
		open := map[int]bool{} // by connection
		for _, s := range proxy.Executed() {
			first, _, _ := strings.Cut(strings.TrimSpace(s.SQL), " ")
			switch first = strings.ToUpper(strings.TrimSuffix(first, ";")); first {
			case "BEGIN":
				open[s.Connection] = true
			case "COMMIT", "ROLLBACK":
				open[s.Connection] = false
			case "INSERT", "UPDATE", "DELETE", "WITH":
				seen[first] = true
				require.True(w, open[s.Connection], "outside of a transaction: %s", s)
			}
		}
		require.Len(w, seen, 4, "of each kind of statement at least one was seen")
	}},
	{"a reaper whose connection breaks deletes no more than it says", func(w *world) {
		for name, action := range actions {
			w.each(name, func(w *world) {
				_, err := w.outside.Exec(w.Context(), `INSERT INTO idempotency_keys (scope, key, state, fingerprint, status, headers, body, created_at, completed_at, expires_at)
					SELECT 'alice', n::text, 'completed', $1, 200, '', '', now(), now(), now() - interval '1 hour' FROM generate_series(1, 10) n`, make([]byte, 33))
				require.NoError(w, err)
				proxy := w.behind(sqlstore.Config{})
				for _, place := range []func(wireproxy.Statement) bool{reaps, wireproxy.Statement.Commits} {
					before := w.records()
					point := proxy.At(place, action)
					_, err = w.store.Reap(w.Context(), 3)
					require.Error(w, err)
					<-point.Done()
					require.LessOrEqual(w, before-w.records(), 3, "one reply was lost")
				}
			})
		}
	}},
	{"a commit that is not answered is asked for under the lock", func(w *world) {
		proxy := w.behind(sqlstore.Config{})
		w.db.SetMaxOpenConns(2)
		commit := proxy.At(wireproxy.Statement.Commits, wireproxy.Orphan)
		done := make(chan error, 1)
		go func() { _, err := w.run(pays(201)); done <- err }()
		<-commit.Reached()
		// The old backend has the lock, and the COMMIT before it. Whoever looks now must not say that it did not happen.
		asked := proxy.At(func(s wireproxy.Statement) bool { return strings.Contains(s.SQL, "pg_try_advisory_xact_lock") }, wireproxy.StopAfter)
		select {
		case <-asked.Reached():
		case err := <-done:
			require.Fail(w, "answered without asking", "%v", err)
		}
		asked.Resume()
		select {
		case err := <-done:
			require.Fail(w, "answered before the old transaction has ended", "%v", err)
		default:
		}
		w.stored(0, 0)
		commit.Resume()
		require.NoError(w, <-done)
		w.stored(1, 1)
	}},
	{"a commit whose outcome cannot be had is unknown, and the retry knows", func(w *world) {
		proxy := w.behind(sqlstore.Config{ReadBackTimeout: 50 * 1e6})
		w.db.SetMaxOpenConns(2)
		commit := proxy.At(wireproxy.Statement.Commits, wireproxy.Orphan)
		_, err := w.run(pays(201))
		require.ErrorIs(w, err, idempotency.ErrOutcomeUnknown)
		commit.Resume()
		<-commit.Done()
		result, err := w.retry(pays(500))
		require.NoError(w, err)
		require.Equal(w, 201, result.Response.Status)
		w.stored(1, 1)
	}},
	{"a server that falls silent is waited for no longer than the bound", func(w *world) {
		proxy := w.behind(sqlstore.Config{})
		_, err := w.run(pays(201))
		require.NoError(w, err)
		for n, statement := range proxy.Executed() {
			if statement.SQL == insert {
				continue // the handler's, whose context has no end here
			}
			short := strings.Join(strings.Fields(statement.SQL), " ")
			w.each(short[:min(len(short), 40)], func(w *world) {
				proxy := w.behind(sqlstore.Config{Timeout: 300 * time.Millisecond, ReadBackTimeout: 300 * time.Millisecond})
				w.db.SetMaxOpenConns(3)
				point := proxy.At(wireproxy.Number(n+1), wireproxy.Stop)
				_, err := w.run(pays(201))
				require.Error(w, err)
				<-point.Reached()
				point.Resume() // what was held back is sent, if the driver has waited for it
				<-point.Done()
				until := time.Now().Add(patience)
				for _, err = w.run(pays(201)); err != nil && time.Now().Before(until); _, err = w.run(pays(201)) {
				}
				require.NoError(w, err)
				w.stored(1, 1)
			})
		}
	}},
	{"a commit without a key that is not answered is unknown", func(w *world) {
		for _, action := range actions {
			w.each("cut", func(w *world) {
				proxy := w.behind(sqlstore.Config{})
				point := proxy.At(wireproxy.Statement.Commits, action)
				_, err := w.keyless(pays(201))
				require.ErrorIs(w, err, idempotency.ErrOutcomeUnknown)
				<-point.Done()
			})
		}
	}},
	{"a handler's statement without arguments whose reply is lost is not sent again", func(w *world) {
		proxy := w.behind(sqlstore.Config{})
		point := proxy.At(func(s wireproxy.Statement) bool { return s.SQL == insert }, wireproxy.CutAfter)
		_, err := w.run(func(ctx context.Context, tx *sql.Tx) (idempotency.Response, error) {
			_, first := tx.ExecContext(ctx, insert)
			require.Error(w, first)
			_, second := tx.ExecContext(ctx, insert)
			require.Error(w, second)
			return idempotency.Response{Status: 201}, nil
		})
		require.Error(w, err)
		<-point.Done()
		w.afterwards()
	}},
}

func reaps(s wireproxy.Statement) bool { return strings.HasPrefix(s.SQL, "WITH reaped") }

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
