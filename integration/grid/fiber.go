package grid

import (
	"net/http"

	fiberv2 "github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v3"

	"github.com/onlyonce/onlyonce/internal/fasthttpidem/fasthttptest"
)

// Fiber's handlers are no http.Handlers: what a test has for net/http is served through a bridge to fasthttp.

func fiberApp() *fiber.App {
	return fiber.New(fiber.Config{BodyLimit: fasthttptest.BodyLimit, ReadBufferSize: fasthttptest.HeaderLimit})
}

func fiberServer(app *fiber.App) *fasthttptest.App {
	_ = app.Handler() // which finishes the routes
	return fasthttptest.NewApp(app.Server())
}

func wrap(handler http.Handler) fiber.Handler {
	return func(c fiber.Ctx) error {
		fasthttptest.Serve(handler, c.RequestCtx(), c.Context())
		return nil
	}
}

func fiberv2App() *fiberv2.App {
	return fiberv2.New(fiberv2.Config{DisableStartupMessage: true, BodyLimit: fasthttptest.BodyLimit, ReadBufferSize: fasthttptest.HeaderLimit})
}

func fiberv2Server(app *fiberv2.App) *fasthttptest.App {
	_ = app.Handler()
	return fasthttptest.NewApp(app.Server())
}

func wrapv2(handler http.Handler) fiberv2.Handler {
	return func(c *fiberv2.Ctx) error {
		fasthttptest.Serve(handler, c.Context(), c.UserContext())
		return nil
	}
}
