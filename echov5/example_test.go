package idempotencyecho_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/labstack/echo/v5"

	idempotencyecho "github.com/onlyonce/onlyonce/echov5"
	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/memstore"
)

// A payment that is sent twice is made once. With pgstore in place of memstore, what the handler writes through
// pgstore.Tx(c.Request().Context()) commits together with its response.
func ExampleMiddleware() {
	store, err := memstore.New(memstore.Config{})
	if err != nil {
		panic(err)
	}
	engine, err := idempotency.New(store, idempotency.Config{})
	if err != nil {
		panic(err)
	}
	protect, err := idempotencyecho.Middleware(engine, idempotencyecho.Config{
		Scope: func(c *echo.Context) (string, error) { return c.Request().Header.Get("X-Account"), nil }, // after authentication
	})
	if err != nil {
		panic(err)
	}
	payments := 0
	server := echo.New()
	server.POST("/payments", func(c *echo.Context) error {
		payments++
		return c.JSON(http.StatusCreated, map[string]int{"id": payments})
	}, protect)

	for range 2 {
		request := httptest.NewRequest(http.MethodPost, "/payments", strings.NewReader(`{"amount": 100}`))
		request.Header.Set("X-Account", "alice")
		request.Header.Set("Idempotency-Key", "payment-1")
		answer := httptest.NewRecorder()
		server.ServeHTTP(answer, request)
		fmt.Printf("%d %s replayed: %q\n", answer.Code, strings.TrimSpace(answer.Body.String()), answer.Header().Get("Idempotent-Replayed"))
	}
	// Output:
	// 201 {"id":1} replayed: ""
	// 201 {"id":1} replayed: "true"
}
