// Package echoapi serves the payments API by Echo.
package echoapi

import (
	"net/http"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	idempotencyecho "github.com/onlyonce/onlyonce/echo"

	"github.com/onlyonce/onlyonce/examples/payments/api"
)

// New returns the router. The order of what is around a payment is the point, from the outside in: recover from panics,
// so that the idempotency middleware has rolled back before anybody answers; authenticate, so that keys belong to accounts; protect.
func New(service api.Service) (*echo.Echo, error) {
	protect, err := idempotencyecho.Middleware(service.Engine, idempotencyecho.Config{
		Scope:   func(c echo.Context) (string, error) { return api.Scope(c.Request()) },
		Headers: api.KeyHeaders,
	})
	if err != nil {
		return nil, err
	}
	e := echo.New()
	e.HTTPErrorHandler = answerError(service)
	e.Use(middleware.RecoverWithConfig(middleware.RecoverConfig{
		DisablePrintStack: true, // LogPanic takes its own
		LogErrorFunc: func(c echo.Context, err error, _ []byte) error {
			return api.LogPanic(service.Logger, c.Request(), err)
		},
	}))

	e.GET("/healthz", func(c echo.Context) error { return c.JSON(http.StatusOK, api.Healthy) })
	e.GET("/readyz", readyz(service))
	e.GET("/openapi.yaml", func(c echo.Context) error { return c.Blob(http.StatusOK, "application/yaml", api.OpenAPI) })

	payments := paymentsHandler{service.Pool}
	authenticated := authenticate(service.Tokens)
	// Not by e.Group: its middleware catches every path below it, and a wrong method would be a 404 and no 405.
	e.POST("/api/v1/payments", payments.create, authenticated, protect)
	e.GET("/api/v1/payments", payments.list, authenticated)
	e.GET("/api/v1/payments/:id", payments.get, authenticated)
	cards := cardPaymentsHandler{service.Pool, service.Cards}
	e.POST("/api/v1/card-payments", cards.create, authenticated, protect)
	e.GET("/api/v1/card-payments/:id", cards.get, authenticated)
	e.GET("/api/v1/balance", payments.balance, authenticated)
	return e, nil
}

func readyz(service api.Service) echo.HandlerFunc {
	return func(c echo.Context) error {
		if err := service.CheckReady(c.Request().Context()); err != nil {
			return err
		}
		return c.JSON(http.StatusOK, api.Healthy)
	}
}

func authenticate(tokens api.Tokens) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			request, err := tokens.Authenticate(c.Request())
			if err != nil {
				return err
			}
			c.SetRequest(request)
			return next(c)
		}
	}
}

// answerError writes every error as a problem document. For an error of a protected handler Echo calls it while the response is
// still buffered, so the problem is what gets stored and replayed.
func answerError(service api.Service) echo.HTTPErrorHandler {
	return func(err error, c echo.Context) {
		if c.Response().Committed {
			return
		}
		if routing, ok := err.(*echo.HTTPError); ok {
			err = api.NoRoute(routing.Code)
		}
		api.LogFailure(service.Logger, c.Request(), err)
		api.WriteProblem(c.Response(), err)
	}
}
