package contender

import (
	"context"
	"fmt"
	"sync"

	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/idempotency"
	storage "github.com/gofiber/storage/redis/v3"
	"github.com/valyala/fasthttp"

	"github.com/onlyonce/onlyonce/bench/payment"
)

// fiberRedis locks keys in its own process, as its middleware does where nothing else is given: there is no other Locker in Fiber
// or in its storage.
var fiberRedis = Kind{
	Name:    "fiber-redis",
	Says:    "Fiber's idempotency middleware with its Redis storage: a lock in the process; the payment; SET key holds the answer",
	Module:  "github.com/gofiber/fiber/v3",
	Redis:   true,
	Replays: true,
	Open: func(_ context.Context, place Place) (Contender, error) {
		app := fiber.New()
		app.Use(idempotency.New(idempotency.Config{
			Storage:   storage.NewFromConnection(place.Redis),
			KeyHeader: "Idempotency-Key",
			Lifetime:  retention,
		}))
		app.Post(payment.Path, func(c fiber.Ctx) error {
			id, err := place.payID(c.Context(), c.Get("Idempotency-Key"))
			if err != nil {
				return err
			}
			c.Set(fiber.HeaderContentType, payment.ContentType)
			c.Set(fiber.HeaderLocation, payment.Location(id))
			return c.Status(payment.Status).Send(payment.Body(id))
		})
		return &fiberApp{handler: app.Handler()}, nil
	},
}

// fiberApp calls Fiber with requests and without sockets. It reuses a request's memory, as fasthttp's server does.
type fiberApp struct {
	handler  fasthttp.RequestHandler
	requests sync.Pool
}

func (*fiberApp) Close() {}

func (f *fiberApp) Pay(_ context.Context, key string) ([]byte, error) {
	c, _ := f.requests.Get().(*fasthttp.RequestCtx)
	if c == nil {
		c = &fasthttp.RequestCtx{}
		c.Init(&fasthttp.Request{}, nil, nil)
	}
	defer func() {
		c.Request.Reset()
		c.Response.Reset()
		c.ResetUserValues()
		f.requests.Put(c)
	}()
	c.Request.Header.SetMethod(fasthttp.MethodPost)
	c.Request.SetRequestURI(payment.Path)
	c.Request.Header.SetContentType(payment.ContentType)
	c.Request.Header.Set("Idempotency-Key", key)
	c.Request.SetBodyString(payment.RequestBody)
	f.handler(c)
	body := append([]byte(nil), c.Response.Body()...)
	if status := c.Response.StatusCode(); status != payment.Status {
		return nil, fmt.Errorf("answered %d: %s", status, body)
	}
	return body, nil
}
