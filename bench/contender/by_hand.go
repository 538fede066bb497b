package contender

import (
	"context"
	"errors"
	"fmt"
	mathrand "math/rand/v2"

	"github.com/jackc/pgx/v5"

	"github.com/onlyonce/onlyonce/bench/payment"
)

// byHand tells what the sequence costs from what the library adds.
var byHand = Kind{
	Name: "by-hand",
	Says: "this library's statements straight on pgx, with no care for anything that can go wrong: fresh keys only",
	Wal:  true,
	Open: func(_ context.Context, place Place) (Contender, error) { return sequence{place}, nil },
}

type sequence struct{ Place }

func (sequence) Close() {}

func (s sequence) Pay(ctx context.Context, key string) ([]byte, error) {
	conn, err := s.Pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Release() // the pool rolls back what is left open
	request := Request(key)

	claim := &pgx.Batch{}
	claim.Queue(`BEGIN`)
	claim.Queue(`SELECT pg_try_advisory_xact_lock($1)`, mathrand.Int64())
	claim.Queue(`SELECT fingerprint, status, headers, body FROM idempotency_keys WHERE scope = $1 AND key = $2`, request.Key.Scope, key)
	results := conn.SendBatch(ctx, claim)
	var locked bool
	var status int
	var fingerprint, headers, body []byte
	_, err = results.Exec()
	err = errors.Join(err, results.QueryRow().Scan(&locked))
	if found := results.QueryRow().Scan(&fingerprint, &status, &headers, &body); !errors.Is(found, pgx.ErrNoRows) {
		err = errors.Join(err, fmt.Errorf("a fresh key was not: %w", found))
	}
	if err = errors.Join(err, results.Close()); err != nil || !locked {
		return nil, errors.Join(err, fmt.Errorf("locked: %t", locked))
	}

	id, err := s.Payments.Make(ctx, conn, key)
	if err != nil {
		return nil, err
	}

	stored := response(id)
	end := &pgx.Batch{}
	end.Queue(`INSERT INTO idempotency_keys (scope, key, state, fingerprint, status, headers, body, created_at, completed_at, expires_at)
		VALUES ($1, $2, 'completed', $3, $4, $5, $6, now(), now(), now() + interval '24 hours')`,
		request.Key.Scope, key, request.Fingerprint[:], stored.Status, stored.Header, stored.Body)
	end.Queue(`COMMIT`)
	return payment.Body(id), conn.SendBatch(ctx, end).Close()
}
