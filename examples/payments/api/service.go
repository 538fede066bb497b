// Package api is what both HTTP shells share: authentication, the request and response bodies, problem documents and the
// OpenAPI document. A shell adds its framework's routing, and no rules.
package api

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onlyonce/onlyonce/idempotency"

	"github.com/onlyonce/onlyonce/examples/payments/cards"
)

// Service is what a shell needs.
type Service struct {
	Pool   *pgxpool.Pool
	Engine *idempotency.Engine
	Tokens Tokens
	Cards  *cards.Terminal
	// Ready reports why requests cannot be served now, nil if they can.
	Ready  func(context.Context) error
	Logger *slog.Logger
}

// KeyHeaders are the headers in which a client may send its idempotency key.
var KeyHeaders = []string{"Idempotency-Key", "X-Idempotency-Key"}

// readyTimeout is shorter than any orchestrator's probe: the answer is "no", not silence.
const readyTimeout = 2 * time.Second

// CheckReady returns the problem to answer a readiness probe with, or nil.
func (s Service) CheckReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := s.Ready(ctx); err != nil {
		return errNotReady.because(err)
	}
	return nil
}
