// A payments service: before and after differ in an import and in what protection returns.
package main

import (
	"fmt"
	"log"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v3"

	idempotencyfiber "github.com/onlyonce/onlyonce/fiber"
	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/memstore"
)

func main() {
	app, err := newApp()
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(app.Listen("127.0.0.1:8080"))
}

func newApp() (*fiber.App, error) {
	protect, err := protection()
	if err != nil {
		return nil, err
	}
	var payments atomic.Int64
	app := fiber.New()
	app.Use(protect)
	app.Post("/payments", func(c fiber.Ctx) error {
		var in struct{ Amount int }
		if err := c.Bind().JSON(&in); err != nil {
			return fiber.ErrBadRequest
		}
		id := payments.Add(1)
		c.Location(fmt.Sprint("/payments/", id))
		c.Set("X-Payment-Id", fmt.Sprint(id))
		return c.Status(fiber.StatusCreated).JSON(fiber.Map{"id": id, "amount": in.Amount})
	})
	app.Get("/payments", func(c fiber.Ctx) error { return c.JSON(fiber.Map{"payments": payments.Load()}) })
	return app, nil
}

func protection() (fiber.Handler, error) {
	store, err := memstore.New(memstore.Config{}) // pgstore.New(pool), for the answers to outlive the process
	if err != nil {
		return nil, err
	}
	engine, err := idempotency.New(store, idempotency.Config{Retention: 24 * time.Hour})
	if err != nil {
		return nil, err
	}
	return idempotencyfiber.Middleware(engine, idempotencyfiber.Config{
		Next:          func(c fiber.Ctx) bool { return c.Method() != fiber.MethodPost },
		Headers:       []string{"X-Idempotency-Key"},
		Validate:      func(key string) error { return longEnough(key) },
		ReplayHeaders: []string{"X-Payment-Id"},
		Scope:         idempotencyfiber.SharedScope, // better: the account
		Optional:      true,
	})
}

func longEnough(key string) error {
	if len(key) < 16 {
		return fiber.NewError(fiber.StatusBadRequest, "the idempotency key is too short")
	}
	return nil
}
