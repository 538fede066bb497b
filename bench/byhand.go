package main

import (
	"context"
	"errors"
	"fmt"
	mathrand "math/rand/v2"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// byHand is the sequence and nothing else: what a payment costs that locks and reads its key and inserts its record, written
// straight on pgx, with no care for anything that can go wrong. It tells what the sequence costs from what the library adds.
func (db *database) byHand(pool *pgxpool.Pool) contender {
	return func(ctx context.Context) error {
		conn, err := pool.Acquire(ctx)
		if err != nil {
			return err
		}
		defer conn.Release() // the pool rolls back what is left open
		request := db.request()

		claim := &pgx.Batch{}
		claim.Queue(`BEGIN`)
		claim.Queue(`SELECT pg_try_advisory_xact_lock($1)`, mathrand.Int64())
		claim.Queue(`SELECT fingerprint, status, headers, body FROM idempotency_keys WHERE scope = $1 AND key = $2`, request.Key.Scope, request.Key.Value)
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
			return errors.Join(err, fmt.Errorf("locked: %t", locked))
		}

		response, err := payment(ctx, conn)
		if err != nil {
			return err
		}

		end := &pgx.Batch{}
		end.Queue(`INSERT INTO idempotency_keys (scope, key, state, fingerprint, status, headers, body, created_at, completed_at, expires_at)
			VALUES ($1, $2, 'completed', $3, $4, $5, $6, now(), now(), now() + interval '24 hours')`,
			request.Key.Scope, request.Key.Value, request.Fingerprint[:], response.Status, response.Header, response.Body)
		end.Queue(`COMMIT`)
		return conn.SendBatch(ctx, end).Close()
	}
}
