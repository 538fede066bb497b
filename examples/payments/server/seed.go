package server

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onlyonce/onlyonce/examples/payments/ledger"
)

// demoAccounts are opened by `payments seed`, and their tokens are the only ones. A service of yours asks its identity
// provider instead.
var demoAccounts = []struct {
	token, account, currency string
	available                int64
}{
	{"demo_alice", "alice", "USD", 100_000},
	{"demo_bob", "bob", "USD", 50_000},
}

func demoTokens() map[string]string {
	tokens := make(map[string]string, len(demoAccounts))
	for _, demo := range demoAccounts {
		tokens[demo.token] = demo.account
	}
	return tokens
}

// SeedDatabase opens the demo accounts. One that is open keeps its balance, so seeding twice is harmless.
func SeedDatabase(ctx context.Context, pool *pgxpool.Pool) error {
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		for _, demo := range demoAccounts {
			if err := ledger.Open(ctx, tx, demo.account, demo.currency, demo.available); err != nil {
				return err
			}
		}
		return nil
	})
}
