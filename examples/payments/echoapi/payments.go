package echoapi

import (
	"net/http"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/labstack/echo/v4"

	"github.com/onlyonce/onlyonce/pgstore"

	"github.com/onlyonce/onlyonce/examples/payments/api"
	"github.com/onlyonce/onlyonce/examples/payments/ledger"
)

type paymentsHandler struct {
	pool *pgxpool.Pool // for reading
}

// create runs once per idempotency key. What it writes through pgstore.Tx and the response that it returns are one
// commit; nothing reaches the client before it. A refusal, such as 402, is rolled back and kept as the answer.
func (paymentsHandler) create(c echo.Context) error {
	ctx := c.Request().Context()
	order, err := api.DecodeOrder(c.Request().Body)
	if err != nil {
		return err
	}
	payment, err := ledger.Pay(ctx, pgstore.Tx(ctx), api.AccountOf(ctx), order)
	if err != nil {
		return err
	}
	c.Response().Header().Set(echo.HeaderLocation, "/api/v1/payments/"+payment.ID)
	return c.JSON(http.StatusCreated, payment)
}

func (h paymentsHandler) get(c echo.Context) error {
	ctx := c.Request().Context()
	payment, err := ledger.Find(ctx, h.pool, api.AccountOf(ctx), c.Param("id"))
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, payment)
}

func (h paymentsHandler) list(c echo.Context) error {
	ctx := c.Request().Context()
	from, limit, err := api.PageQuery(c.QueryParams())
	if err != nil {
		return err
	}
	page, err := ledger.List(ctx, h.pool, api.AccountOf(ctx), from, limit)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, page)
}

func (h paymentsHandler) balance(c echo.Context) error {
	ctx := c.Request().Context()
	balance, err := ledger.BalanceOf(ctx, h.pool, api.AccountOf(ctx))
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, balance)
}
