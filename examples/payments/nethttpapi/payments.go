package nethttpapi

import (
	"net/http"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onlyonce/onlyonce/pgstore"

	"github.com/onlyonce/onlyonce/examples/payments/api"
	"github.com/onlyonce/onlyonce/examples/payments/ledger"
)

type paymentsHandler struct {
	pool *pgxpool.Pool // for reading
}

// create runs once per idempotency key. What it writes through pgstore.Tx and the response that it returns are one
// commit; nothing reaches the client before it. A refusal, such as 402, is rolled back and kept as the answer.
func (paymentsHandler) create(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	order, err := api.DecodeOrder(r.Body)
	if err != nil {
		return err
	}
	payment, err := ledger.Pay(ctx, pgstore.Tx(ctx), api.AccountOf(ctx), order)
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/api/v1/payments/"+payment.ID)
	return api.WriteJSON(w, http.StatusCreated, payment)
}

func (h paymentsHandler) get(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	payment, err := ledger.Find(ctx, h.pool, api.AccountOf(ctx), r.PathValue("id"))
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, payment)
}

func (h paymentsHandler) list(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	from, limit, err := api.PageQuery(r.URL.Query())
	if err != nil {
		return err
	}
	page, err := ledger.List(ctx, h.pool, api.AccountOf(ctx), from, limit)
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, page)
}

func (h paymentsHandler) balance(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	balance, err := ledger.BalanceOf(ctx, h.pool, api.AccountOf(ctx))
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, balance)
}
