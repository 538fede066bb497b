package idempotencyfiber_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/gofiber/fiber/v2"

	idempotencyfiber "github.com/onlyonce/onlyonce/fiberv2"
	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/memstore"
)

// A payment that is sent twice is made once; another payment with the same key is turned away. With pgstore in place of
// memstore, what the handler writes through pgstore.Tx(c.UserContext()) commits together with its response.
func ExampleMiddleware() {
	store, err := memstore.New(memstore.Config{})
	if err != nil {
		panic(err)
	}
	engine, err := idempotency.New(store, idempotency.Config{})
	if err != nil {
		panic(err)
	}
	protect, err := idempotencyfiber.Middleware(engine, idempotencyfiber.Config{
		Scope: func(c *fiber.Ctx) (string, error) { return c.Get("X-Account"), nil }, // after authentication
	})
	if err != nil {
		panic(err)
	}
	payments := 0
	app := fiber.New()
	app.Post("/payments", protect, func(c *fiber.Ctx) error {
		payments++
		return c.Status(fiber.StatusCreated).JSON(fiber.Map{"id": payments})
	})

	for _, body := range []string{`{"amount": 100}`, `{"amount": 100}`, `{"amount": 999}`} {
		request := httptest.NewRequest(http.MethodPost, "/payments", strings.NewReader(body))
		request.Header.Set("X-Account", "alice")
		request.Header.Set("Idempotency-Key", "payment-1")
		answer, err := app.Test(request)
		if err != nil {
			panic(err)
		}
		text, _ := io.ReadAll(answer.Body)
		if answer.StatusCode == http.StatusUnprocessableEntity {
			text = []byte(answer.Header.Get("Content-Type"))
		}
		fmt.Printf("%d %s replayed: %q\n", answer.StatusCode, text, answer.Header.Get("Idempotent-Replayed"))
	}
	fmt.Println("payments:", payments)
	// Output:
	// 201 {"id":1} replayed: ""
	// 201 {"id":1} replayed: "true"
	// 422 application/problem+json replayed: ""
	// payments: 1
}
