package echoapi

import (
	"net/http"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/labstack/echo/v4"

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
func (h cardPaymentsHandler) create(c echo.Context) error {
	ctx := c.Request().Context()
	order, err := api.DecodeCardOrder(c.Request().Body)
	if err != nil {
		return err
	}
	payment, err := h.cards.Pay(ctx, api.AccountOf(ctx), order)
	if payment.ID != "" {
		c.Response().Header().Set(echo.HeaderLocation, "/api/v1/card-payments/"+payment.ID)
	}
	if err != nil {
		return err
	}
	return c.JSON(http.StatusCreated, payment)
}

func (h cardPaymentsHandler) get(c echo.Context) error {
	ctx := c.Request().Context()
	payment, err := ledger.FindCardPayment(ctx, h.pool, api.AccountOf(ctx), c.Param("id"))
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, payment)
}
