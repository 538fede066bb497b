package nethttpapi

import (
	"net/http"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onlyonce/onlyonce/examples/payments/api"
	"github.com/onlyonce/onlyonce/examples/payments/cards"
	"github.com/onlyonce/onlyonce/examples/payments/ledger"
)

type cardPaymentsHandler struct {
	pool  *pgxpool.Pool // for reading
	cards *cards.Terminal
}

// create runs until the card is charged, or declined, and that is booked: in one go, or over several attempts, each of which goes
// on where the one before ended. A client that is refused, or told to come back, learns too where the payment can be read.
func (h cardPaymentsHandler) create(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	order, err := api.DecodeCardOrder(r.Body)
	if err != nil {
		return err
	}
	payment, err := h.cards.Pay(ctx, api.AccountOf(ctx), order)
	if payment.ID != "" {
		w.Header().Set("Location", "/api/v1/card-payments/"+payment.ID)
	}
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusCreated, payment)
}

func (h cardPaymentsHandler) get(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	payment, err := ledger.FindCardPayment(ctx, h.pool, api.AccountOf(ctx), r.PathValue("id"))
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, payment)
}
