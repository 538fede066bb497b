package ledger

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ErrNotPending says that a card payment was to be captured or declined and is settled already, or that its account is gone. Nothing
// that follows the steps in their order can bring it about: look at the payment by hand.
var ErrNotPending = errors.New("ledger: the card payment or its account is not in the state that it was left in")

// Capture books what the provider has charged: from the house's clearing account to the customer's, with a receipt to be sent.
// Everything happens in tx and counts once tx commits; after an error the caller rolls back.
func Capture(ctx context.Context, tx pgx.Tx, account string, payment CardPayment, chargeID string) (CardPayment, error) {
	payment.Status = Captured
	receipt, err := json.Marshal(payment)
	if err != nil {
		return CardPayment{}, err
	}
	batch := &pgx.Batch{}
	batch.Queue(captureCardPayment, payment.ID, chargeID).Exec(oneRow)
	batch.Queue(creditAccount, account, payment.Amount, payment.Currency).Exec(oneRow)
	batch.Queue(insertCaptureEntries, payment.ID, clearingAccount(payment.Currency), account, payment.Amount, payment.Currency)
	batch.Queue(insertReceipt, newPaymentID(), payment.ID, account, string(receipt)) // bytes would be sent as bytea where nothing is prepared
	if err := settled("capturing the card payment", tx.SendBatch(ctx, batch).Close()); err != nil {
		return CardPayment{}, err
	}
	return payment, nil
}

// Decline records that the provider has said no, with its code for it. No money moves.
func Decline(ctx context.Context, tx pgx.Tx, payment CardPayment, code string) (CardPayment, error) {
	tag, err := tx.Exec(ctx, declineCardPayment, payment.ID, code)
	if err == nil {
		err = oneRow(tag)
	}
	if err := settled("declining the card payment", err); err != nil {
		return CardPayment{}, err
	}
	payment.Status, payment.DeclineCode = Declined, code
	return payment, nil
}

func oneRow(tag pgconn.CommandTag) error {
	if tag.RowsAffected() != 1 {
		return ErrNotPending
	}
	return nil
}

func settled(doing string, err error) error {
	if err == nil || errors.Is(err, ErrNotPending) {
		return err
	}
	return failed(doing, err)
}
