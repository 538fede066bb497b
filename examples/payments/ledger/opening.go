package ledger

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// Open opens an account that holds available minor units of currency, booked against the house's funding account. An account
// that exists is left as it is.
func Open(ctx context.Context, tx pgx.Tx, account, currency string, available int64) error {
	batch := &pgx.Batch{}
	batch.Queue(openHouseAccount, settlementAccount(currency), currency)
	batch.Queue(openHouseAccount, fundingAccount(currency), currency)
	batch.Queue(openHouseAccount, clearingAccount(currency), currency)
	batch.Queue(openAccount, account, currency, available, fundingAccount(currency))
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return failed("opening the account "+account, err)
	}
	return nil
}

// settlementAccount is where paid money goes.
func settlementAccount(currency string) string { return "house:settlement:" + currency }

// fundingAccount is where opening balances come from.
func fundingAccount(currency string) string { return "house:funding:" + currency }

// clearingAccount is where card payments come from until the provider pays them out.
func clearingAccount(currency string) string { return "house:card-clearing:" + currency }
