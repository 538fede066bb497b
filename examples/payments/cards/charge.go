package cards

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/onlyonce/onlyonce/examples/payments/ledger"
	"github.com/onlyonce/onlyonce/examples/payments/psp"
)

// verdict is the provider's final word on a charge. It is stored as the result of a step.
type verdict struct {
	// ChargeID is empty if the card was declined.
	ChargeID    string `json:"charge_id,omitempty"`
	DeclineCode string `json:"decline_code,omitempty"`
}

// charge returns the provider's verdict, or an error as long as it is not known: a "no" is a result, since it is as final as a
// "yes", and silence is neither.
//
// All that is sent follows from the client's request, and so does the key. The payment's id does not: a failover to an asynchronous
// standby may lose the payment behind a charge, and the retry, under another id, has to send what the provider has seen.
func (t *Terminal) charge(ctx context.Context, key string, payment ledger.CardPayment, card string) (verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	charge, err := t.provider.Charge(ctx, key, psp.ChargeRequest{
		Amount: payment.Amount, Currency: payment.Currency, Card: card, Reference: key,
	})
	if declined, ok := errors.AsType[*psp.Declined](err); ok {
		return verdict{DeclineCode: declined.Code}, nil
	}
	if rejected, ok := errors.AsType[*psp.Rejected](err); ok && rejected.Status == http.StatusUnprocessableEntity {
		return t.rejected(ctx, key, payment, rejected)
	}
	if err != nil {
		return verdict{}, err
	}
	return accept(charge, key, payment)
}

// rejected tells a card that the provider will never charge from one that it has charged on an earlier attempt. Any other
// rejection, such as of our credentials, is ours to mend, and says nothing about the card.
func (t *Terminal) rejected(ctx context.Context, key string, payment ledger.CardPayment, because *psp.Rejected) (verdict, error) {
	charge, found, err := t.provider.Find(ctx, key)
	switch {
	case err != nil:
		return verdict{}, err
	case found:
		return accept(charge, key, payment)
	case because.Code == "key_reused": // something is charged, or about to be, that is not this payment
		return verdict{}, because
	}
	return verdict{DeclineCode: because.Code}, nil
}

// accept refuses to book a charge that is not the one that was asked for.
func accept(charge psp.Charge, key string, payment ledger.CardPayment) (verdict, error) {
	if charge.Amount != payment.Amount || charge.Currency != payment.Currency || charge.Reference != key {
		return verdict{}, &psp.Unknown{Err: fmt.Errorf("the provider has charge %s for another amount, currency or reference than payment %s", charge.ID, payment.ID)}
	}
	return verdict{ChargeID: charge.ID}, nil
}
