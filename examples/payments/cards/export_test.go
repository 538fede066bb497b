package cards

import (
	"context"

	"github.com/onlyonce/onlyonce/examples/payments/ledger"
)

// Charge is the step card_charged by itself.
func (t *Terminal) Charge(ctx context.Context, key string, payment ledger.CardPayment, card string) (chargeID, declineCode string, err error) {
	said, err := t.charge(ctx, key, payment, card)
	return said.ChargeID, said.DeclineCode, err
}
