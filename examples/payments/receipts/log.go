package receipts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/jackc/pgx/v5/pgconn"
)

// ToLog delivers receipts to a log, where a service of yours sends mail. A receipt knows no card.
func ToLog(logger *slog.Logger) Deliver {
	return func(ctx context.Context, receipt Receipt) error {
		logger.InfoContext(ctx, "receipt", "receipt", receipt.ID, "card_payment", receipt.CardPayment, "account", receipt.Account,
			"body", string(receipt.Body))
		return nil
	}
}

// causeForLog keeps the text of the database out, which may quote a row.
func causeForLog(err error) string {
	if failed, ok := errors.AsType[*NotDelivered](err); ok {
		return failed.Error()
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return "SQLSTATE " + pg.Code
	}
	return fmt.Sprintf("%T", err)
}
