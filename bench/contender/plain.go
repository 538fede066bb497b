package contender

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/onlyonce/onlyonce/bench/payment"
)

var plain = Kind{
	Name: Baseline,
	Says: "pgx, and no protection: a retry pays again",
	Wal:  true,
	Open: func(_ context.Context, place Place) (Contender, error) { return unprotected{place}, nil },
}

type unprotected struct{ Place }

func (u unprotected) Pay(ctx context.Context, key string) ([]byte, error) { return u.pay(ctx, key) }

func (unprotected) Close() {}

// pay is a payment in a transaction of its own.
func (p Place) pay(ctx context.Context, key string) (body []byte, err error) {
	id, err := p.payID(ctx, key)
	if err != nil {
		return nil, err
	}
	return payment.Body(id), nil
}

func (p Place) payID(ctx context.Context, key string) (id int64, err error) {
	err = pgx.BeginFunc(ctx, p.Pool, func(tx pgx.Tx) error {
		id, err = p.Payments.Make(ctx, tx, key)
		return err
	})
	return id, err
}
