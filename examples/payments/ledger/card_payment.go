package ledger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// MaxCardAmount is the most that one card payment takes, in minor units: the eight digits that card networks carry. No sum of
// them overflows a balance, so that what the provider has charged can be booked.
const MaxCardAmount = 99_999_999

// MaxCard is the longest card token.
const MaxCard = 64

// CardOrder is what a client asks for: money from a card into its account.
type CardOrder struct {
	Amount   int64 // minor units
	Currency string
	Card     string // the provider's token for it, never its number
}

// CardStatus is how far a card payment has got.
type CardStatus string

// The statuses. A payment leaves Pending once.
const (
	Pending  CardStatus = "pending"
	Captured CardStatus = "captured"
	Declined CardStatus = "declined"
)

// CardPayment is money that comes from a card into an account.
type CardPayment struct {
	ID          string     `json:"id"`
	Amount      int64      `json:"amount"`
	Currency    string     `json:"currency"`
	Status      CardStatus `json:"status"`
	DeclineCode string     `json:"decline_code,omitempty"`
	CreatedAt   time.Time  `json:"created_at"`
}

// OpenCardPayment records that the order is about to be charged: the payment is pending, and no money has moved. A broken rule
// is a *Refusal; after any error the caller rolls back.
func OpenCardPayment(ctx context.Context, tx pgx.Tx, account string, order CardOrder) (CardPayment, error) {
	if err := order.check(); err != nil {
		return CardPayment{}, err
	}
	payment := CardPayment{ID: newPaymentID(), Amount: order.Amount, Currency: order.Currency, Status: Pending}
	err := tx.QueryRow(ctx, insertCardPayment, payment.ID, account, order.Amount, order.Currency).Scan(&payment.CreatedAt)
	if errors.Is(err, pgx.ErrNoRows) {
		if _, err := balanceIn(ctx, tx, account, order.Currency); err != nil {
			return CardPayment{}, err
		}
		return CardPayment{}, Refuse(AccountNotFound, "this account has been opened only now")
	}
	if err != nil {
		return CardPayment{}, failed("recording the card payment", err)
	}
	payment.CreatedAt = payment.CreatedAt.UTC()
	return payment, nil
}

func (o CardOrder) check() error {
	switch {
	case o.Amount <= 0:
		return Refuse(InvalidAmount, "amount must be positive, in minor units of the currency")
	case o.Amount > MaxCardAmount:
		return Refuse(InvalidAmount, fmt.Sprintf("amount must be at most %d, in minor units of the currency, for a card", MaxCardAmount))
	case !Payable(o.Currency):
		return Refuse(UnknownCurrency, "currency must be an active ISO 4217 code in capital letters, such as USD")
	case o.Card == "" || len(o.Card) > MaxCard || strings.ContainsFunc(o.Card, notOfToken):
		return Refuse(InvalidCard, fmt.Sprintf("card must be a token of 1 to %d letters, digits and underscores, such as tok_visa", MaxCard))
	}
	return nil
}

func notOfToken(r rune) bool {
	return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && r != '_'
}

// FindCardPayment reads one card payment of the account. Another account's is not found, exactly as one that does not exist.
func FindCardPayment(ctx context.Context, db Querier, account, id string) (CardPayment, error) {
	notFound := Refuse(PaymentNotFound, "this account has no such card payment")
	if _, ok := parseUUID(id); !ok {
		return CardPayment{}, notFound
	}
	var p CardPayment
	err := db.QueryRow(ctx, readCardPayment, id, account).Scan(&p.ID, &p.Amount, &p.Currency, &p.Status, &p.DeclineCode, &p.CreatedAt)
	if errors.Is(err, pgx.ErrNoRows) {
		return CardPayment{}, notFound
	}
	if err != nil {
		return CardPayment{}, failed("reading the card payment", err)
	}
	p.CreatedAt = p.CreatedAt.UTC()
	return p, nil
}
