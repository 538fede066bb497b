// Package ledger is the business: accounts, payments and double entries, on one pgx transaction handed in by the caller.
// It knows neither HTTP nor idempotency.
package ledger

import (
	"context"
	"fmt"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
)

// MaxReference is the longest reference, in characters: that of a SEPA or SWIFT remittance line.
const MaxReference = 140

// Order is what a client asks for.
type Order struct {
	Amount    int64 // minor units
	Currency  string
	Reference string
}

// Payment is money that left an account.
type Payment struct {
	ID        string    `json:"id"`
	Amount    int64     `json:"amount"`
	Currency  string    `json:"currency"`
	Reference string    `json:"reference,omitempty"`
	CreatedAt time.Time `json:"created_at"`
}

// Pay takes the order's amount from the account, records the payment and books both sides of it. Everything happens in tx
// and counts once tx commits. A broken rule is a *Refusal; after any error the caller rolls back.
func Pay(ctx context.Context, tx pgx.Tx, account string, order Order) (Payment, error) {
	if err := order.check(); err != nil {
		return Payment{}, err
	}
	debited, err := tx.Exec(ctx, debitAccount, account, order.Amount, order.Currency)
	if err != nil {
		return Payment{}, failed("debiting the account", err)
	}
	if debited.RowsAffected() == 0 {
		return Payment{}, whyNotDebited(ctx, tx, account, order)
	}

	payment := Payment{ID: newPaymentID(), Amount: order.Amount, Currency: order.Currency, Reference: order.Reference}
	batch := &pgx.Batch{}
	batch.Queue(insertPayment, payment.ID, account, order.Amount, order.Currency, order.Reference).
		QueryRow(func(row pgx.Row) error { return row.Scan(&payment.CreatedAt) })
	batch.Queue(insertEntries, payment.ID, account, settlementAccount(order.Currency), order.Amount, order.Currency)
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return Payment{}, failed("recording the payment", err)
	}
	payment.CreatedAt = payment.CreatedAt.UTC()
	return payment, nil
}

func (o Order) check() error {
	switch {
	case o.Amount <= 0:
		return Refuse(InvalidAmount, "amount must be positive, in minor units of the currency")
	case !Payable(o.Currency):
		return Refuse(UnknownCurrency, "currency must be an active ISO 4217 code in capital letters, such as USD")
	case utf8.RuneCountInString(o.Reference) > MaxReference:
		return Refuse(InvalidReference, fmt.Sprintf("reference must have at most %d characters", MaxReference))
	case !printable(o.Reference):
		return Refuse(InvalidReference, "reference must be printable text without control characters")
	}
	return nil
}

// printable also keeps U+0000 out, which Postgres cannot store, and U+FFFD, to which Go's JSON decoder turns broken UTF-8.
func printable(text string) bool {
	for _, r := range text {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return false
		}
	}
	return true
}

func whyNotDebited(ctx context.Context, tx pgx.Tx, account string, order Order) error {
	if _, err := balanceIn(ctx, tx, account, order.Currency); err != nil {
		return err
	}
	return Refuse(InsufficientFunds, "the balance does not cover the amount")
}
