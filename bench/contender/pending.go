package contender

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
)

// The row is committed before the payment begins, so that other processes see it, and completed after it.
const pendingTable = `CREATE TABLE IF NOT EXISTS pending_first (key text PRIMARY KEY, state text NOT NULL, body bytea,
	leased_until timestamptz NOT NULL, created_at timestamptz NOT NULL DEFAULT now())`

const (
	pendingInsert = `INSERT INTO pending_first (key, state, leased_until) VALUES ($1, 'pending', now() + $2) ON CONFLICT (key) DO NOTHING`
	// pendingLease takes the row of an owner over whose lease is over.
	pendingLease = `INSERT INTO pending_first AS p (key, state, leased_until) VALUES ($1, 'pending', now() + $2)
		ON CONFLICT (key) DO UPDATE SET leased_until = excluded.leased_until WHERE p.state = 'pending' AND p.leased_until < now()`
	pendingSelect   = `SELECT state, body FROM pending_first WHERE key = $1`
	pendingComplete = `UPDATE pending_first SET state = 'completed', body = $2 WHERE key = $1`
	pendingDelete   = `DELETE FROM pending_first WHERE key = $1`
)

var pending = Kind{
	Name:    "pending-first",
	Says:    "a pending row is committed, then the payment, then the row's completion: a row that is left stays pending",
	Tables:  pendingTable,
	Replays: true,
	Wal:     true,
	Open: func(_ context.Context, place Place) (Contender, error) {
		return pendingFirst{place, pendingInsert}, nil
	},
}

var pendingTakeOver = Kind{
	Name:      "pending-lease",
	Says:      "the same, and a row whose lease is over is taken over by the retry",
	Tables:    pendingTable,
	Replays:   true,
	KillsOnly: true,
	Open: func(_ context.Context, place Place) (Contender, error) {
		return pendingFirst{place, pendingLease}, nil
	},
}

type pendingFirst struct {
	Place
	claim string
}

func (pendingFirst) Close() {}

func (p pendingFirst) Pay(ctx context.Context, key string) ([]byte, error) {
	tag, err := p.Pool.Exec(ctx, p.claim, key, p.Stale)
	if err != nil {
		return nil, err
	}
	if tag.RowsAffected() == 0 {
		return p.replay(ctx, key)
	}
	body, err := p.pay(ctx, key)
	if err != nil {
		_, freed := p.Pool.Exec(context.WithoutCancel(ctx), pendingDelete, key)
		return nil, errors.Join(err, freed)
	}
	_, err = p.Pool.Exec(ctx, pendingComplete, key, body)
	return body, err
}

func (p pendingFirst) replay(ctx context.Context, key string) ([]byte, error) {
	var state string
	var body []byte
	switch err := p.Pool.QueryRow(ctx, pendingSelect, key).Scan(&state, &body); {
	case errors.Is(err, pgx.ErrNoRows): // freed meanwhile
		return nil, ErrBusy
	case err != nil:
		return nil, err
	case state != "completed":
		return nil, ErrBusy
	}
	return body, nil
}
