package contender

import (
	"context"
	"errors"
	"time"

	"github.com/onlyonce/onlyonce/bench/payment"
	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/pgstore"
)

var onlyonce = Kind{
	Name:    "onlyonce",
	Says:    "this library, by Engine.Run: payment and answer are one commit",
	Replays: true,
	Wal:     true,
	Open: func(_ context.Context, place Place) (Contender, error) {
		engine, err := Engine(place, idempotency.Config{Wait: place.Wait})
		return protected{place, engine}, err
	},
}

// Engine returns an engine on the place's pool.
func Engine(place Place, config idempotency.Config) (*idempotency.Engine, error) {
	store, err := pgstore.NewWithConfig(place.Pool, pgstore.Config{Timeout: time.Minute})
	if err != nil {
		return nil, err
	}
	return idempotency.New(store, config)
}

type protected struct {
	Place
	engine *idempotency.Engine
}

func (p protected) Pay(ctx context.Context, key string) ([]byte, error) {
	result, err := p.engine.Run(ctx, Request(key), p.handler(key))
	if errors.Is(err, idempotency.ErrInProgress) {
		return nil, ErrBusy
	}
	return result.Response.Body, err
}

func (protected) Close() {}

// handler is what a user writes.
func (p Place) handler(key string) idempotency.Handler {
	return func(ctx context.Context) (idempotency.Response, error) {
		id, err := p.Payments.Make(ctx, pgstore.Tx(ctx), key)
		return response(id), err
	}
}

func response(id int64) idempotency.Response {
	return idempotency.Response{
		Status: payment.Status,
		Header: []byte("Content-Type: " + payment.ContentType + "\r\nLocation: " + payment.Location(id) + "\r\n"),
		Body:   payment.Body(id),
	}
}

// Request is what an adapter makes of a client's request.
func Request(key string) idempotency.Request {
	var fingerprinter *idempotency.Fingerprinter
	return idempotency.Request{
		Key:         idempotency.Key{Scope: scope, Value: key},
		Fingerprint: fingerprinter.Sum([]byte(payment.RequestBody), "POST", payment.Path, "", payment.ContentType),
	}
}

// scope is the tenant: one, as in the contenders that know none.
const scope = "account-4711"
