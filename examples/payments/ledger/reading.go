package ledger

import (
	"context"
	"encoding/base64"
	"errors"

	"github.com/jackc/pgx/v5"
)

// Querier is a pool, a connection or a transaction.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Balance is what an account can spend.
type Balance struct {
	Currency  string `json:"currency"`
	Available int64  `json:"available"`
}

// BalanceOf reads an account's balance.
func BalanceOf(ctx context.Context, db Querier, account string) (Balance, error) {
	var balance Balance
	err := db.QueryRow(ctx, readAccount, account).Scan(&balance.Currency, &balance.Available)
	if errors.Is(err, pgx.ErrNoRows) {
		return Balance{}, Refuse(AccountNotFound, "this account has not been opened")
	}
	if err != nil {
		return Balance{}, failed("reading the balance", err)
	}
	return balance, nil
}

// balanceIn is BalanceOf, with a refusal where the account is in another currency.
func balanceIn(ctx context.Context, db Querier, account, currency string) (Balance, error) {
	balance, err := BalanceOf(ctx, db, account)
	if err == nil && balance.Currency != currency {
		err = Refuse(CurrencyMismatch, "this account pays in "+balance.Currency+" only")
	}
	return balance, err
}

// Find reads one payment of the account. Another account's payment is not found, exactly as one that does not exist.
func Find(ctx context.Context, db Querier, account, id string) (Payment, error) {
	notFound := Refuse(PaymentNotFound, "this account has no such payment")
	if _, ok := parseUUID(id); !ok {
		return Payment{}, notFound
	}
	payment, err := scanPayment(db.QueryRow(ctx, readPayment, id, account))
	if errors.Is(err, pgx.ErrNoRows) {
		return Payment{}, notFound
	}
	if err != nil {
		return Payment{}, failed("reading the payment", err)
	}
	return payment, nil
}

// Page is a part of an account's payments, newest first.
type Page struct {
	Payments []Payment `json:"payments"`
	// Next is the cursor of the page after this one; empty on the last.
	Next string `json:"next,omitempty"`
}

// Cursor is a place in an account's payments. The zero Cursor is the start.
type Cursor struct{ after string }

// ParseCursor reads a cursor that a Page gave out.
func ParseCursor(text string) (Cursor, bool) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(raw) != 16 {
		return Cursor{}, false
	}
	return Cursor{after: formatUUID([16]byte(raw))}, true
}

func cursorAfter(payment Payment) string {
	id, _ := parseUUID(payment.ID)
	return base64.RawURLEncoding.EncodeToString(id[:])
}

// List reads the page of at most limit payments that begins at the cursor.
func List(ctx context.Context, db Querier, account string, from Cursor, limit int) (Page, error) {
	if from.after == "" {
		from.after = "ffffffff-ffff-ffff-ffff-ffffffffffff"
	}
	// One more than asked for tells whether a next page exists, without a second query.
	rows, err := db.Query(ctx, listPayments, account, from.after, limit+1)
	if err != nil {
		return Page{}, failed("listing payments", err)
	}
	payments, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Payment, error) { return scanPayment(row) })
	if err != nil {
		return Page{}, failed("listing payments", err)
	}
	page := Page{Payments: payments}
	if len(payments) > limit {
		page.Payments = payments[:limit]
		page.Next = cursorAfter(payments[limit-1])
	}
	return page, nil
}

func scanPayment(row pgx.Row) (Payment, error) {
	var p Payment
	err := row.Scan(&p.ID, &p.Amount, &p.Currency, &p.Reference, &p.CreatedAt)
	p.CreatedAt = p.CreatedAt.UTC()
	return p, err
}
