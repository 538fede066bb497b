package sqlsuite

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/wireproxy"
	"github.com/onlyonce/onlyonce/sqlstore"
)

// lending is the steps of a loan. Each leads to the same whether its line breaks or not.
var lending = []struct {
	name string
	run  func(w *world, owner idempotency.OwnerToken) error
}{
	{"Acquire", func(w *world, owner idempotency.OwnerToken) error { return w.borrows(owner, 1) }},
	{"Extend", func(w *world, owner idempotency.OwnerToken) error {
		return w.store.Extend(w.Context(), w.key, owner, time.Hour)
	}},
	{"Free", func(w *world, owner idempotency.OwnerToken) error { return w.store.Free(w.Context(), w.key, owner) }},
	{"Acquire of what is free", func(w *world, owner idempotency.OwnerToken) error { return w.borrows(owner, 1) }},
	{"Settle", func(w *world, owner idempotency.OwnerToken) error { return w.settles(owner, false) }},
	{"Settle again", func(w *world, owner idempotency.OwnerToken) error { return w.settles(owner, true) }},
	{"Acquire of a record", func(w *world, _ idempotency.OwnerToken) error {
		_, found, err := w.store.Acquire(w.Context(), w.key, idempotency.Terms{Owner: idempotency.NewOwnerToken(), Lease: time.Hour})
		if err == nil && (found == nil || string(found.Response.Body) != "paid") {
			err = fmt.Errorf("found %v", found)
		}
		return err
	}},
}

func (w *world) borrows(owner idempotency.OwnerToken, attempt int) error {
	lease, _, err := w.store.Acquire(w.Context(), w.key, idempotency.Terms{Owner: owner, Lease: time.Hour})
	if err == nil && (lease == nil || lease.Attempt != attempt) {
		err = fmt.Errorf("lease %v, want attempt %d", lease, attempt)
	}
	return err
}

func (w *world) settles(owner idempotency.OwnerToken, want bool) error {
	record := &idempotency.Record{Response: idempotency.Response{Status: 201, Body: []byte("paid")}}
	again, err := w.store.Settle(w.Context(), w.key, owner, record, time.Hour)
	if err == nil && again != want {
		err = fmt.Errorf("again is %v", again)
	}
	return err
}

var lendingScenarios = []scenario{
	{"each step of a loan is one statement, and is sent again when its reply is lost", func(w *world) {
		for name, action := range actions {
			for at, broken := range lending {
				w.Run(broken.name+", "+name, func(t *testing.T) {
					t.Parallel()
					w, owner := newWorld(t, w.driver), idempotency.NewOwnerToken()
					proxy := w.behind(sqlstore.Config{})
					for n, step := range lending {
						if n != at {
							require.NoError(t, step.run(w, owner), step.name)
							continue
						}
						cut := proxy.At(func(s wireproxy.Statement) bool { return s.Number > 0 && !isPing(s) }, action)
						if err := step.run(w, owner); broken.name != "Settle again" || err == nil { // which may not be told from the first
							require.NoError(t, err, step.name)
						}
						<-cut.Done()
					}
					require.Equal(t, 1, w.records())
					require.Zero(t, w.db.Stats().InUse, "connections that were not given back")
				})
			}
		}
	}},
	{"an attempt whose key is lent meanwhile is rolled back", func(w *world) {
		w.db.SetMaxOpenConns(2)
		owner := idempotency.NewOwnerToken()
		attempt, _, err := w.store.Claim(w.Context(), w.key)
		require.NoError(w, err)
		ctx := attempt.Context(w.Context())
		w.exec(ctx, sqlstore.Tx(ctx), insert)
		require.NoError(w, w.borrows(owner, 1))
		_, err = attempt.Complete(w.Context(), &idempotency.Record{Response: idempotency.Response{Status: 201}}, time.Hour)
		require.ErrorIs(w, err, idempotency.ErrTransactionConflict)
		require.NoError(w, w.settles(owner, false))
		w.stored(0, 1)
	}},
}
