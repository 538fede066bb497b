// Package cards pays by card: the chain of steps between the ledger and a provider outside of the database. It knows no HTTP
// shell, and is run inside of a handler that the idempotency middleware protects.
package cards

import (
	"context"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/pgstore"

	"github.com/onlyonce/onlyonce/examples/payments/ledger"
	"github.com/onlyonce/onlyonce/examples/payments/psp"
)

// DefaultTimeout bounds one call of the provider where NewTerminal is not told otherwise.
const DefaultTimeout = 5 * time.Second

// Terminal takes card payments.
type Terminal struct {
	provider *psp.Client
	timeout  time.Duration
}

// NewTerminal takes the provider, and how long one call of it may take: DefaultTimeout if that is 0. It should be less than the
// engine's HandlerTimeout, so that the handler can still answer.
func NewTerminal(provider *psp.Client, timeout time.Duration) *Terminal {
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	return &Terminal{provider, timeout}
}

// Pay charges the order's card and books the money into the account: each of them once per idempotency key, whatever is killed
// and whenever. The names of the steps are stored with the keys that are under way: to rename or reorder them, let those end.
//
// A *ledger.Refusal is final. After any other error the key stays at its last step, and a retry or the completer goes on from
// there. The payment is returned with an error too, as soon as it has been recorded.
func (t *Terminal) Pay(ctx context.Context, account string, order ledger.CardOrder) (ledger.CardPayment, error) {
	// Recorded before the provider hears of it: a charge without a payment cannot be.
	payment, err := idempotency.Atomic(ctx, "payment_created", func(ctx context.Context) (ledger.CardPayment, error) {
		return ledger.OpenCardPayment(ctx, pgstore.Tx(ctx), account, order)
	})
	if err != nil {
		return payment, err
	}

	// No transaction and no connection is held here, however long the provider takes.
	said, err := idempotency.Foreign(ctx, "card_charged", func(ctx context.Context, key string) (verdict, error) {
		return t.charge(ctx, key, payment, order.Card)
	})
	if err != nil {
		return payment, err
	}

	if said.ChargeID == "" {
		// In a step of its own, since the refusal rolls back what follows the last one.
		declined, err := idempotency.Atomic(ctx, "decline_recorded", func(ctx context.Context) (ledger.CardPayment, error) {
			return ledger.Decline(ctx, pgstore.Tx(ctx), payment, said.DeclineCode)
		})
		if err != nil {
			return payment, err
		}
		return declined, ledger.Refuse(ledger.CardDeclined, "the card was declined and nothing was charged: pay with another card and a new key")
	}

	captured, err := ledger.Capture(ctx, pgstore.Tx(ctx), account, payment, said.ChargeID) // committed with the response
	if err != nil {
		return payment, err
	}
	return captured, nil
}
