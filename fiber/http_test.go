package idempotencyfiber_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gofiber/fiber/v3"

	idempotencyfiber "github.com/onlyonce/onlyonce/fiber"
	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/fasthttpidem"
	"github.com/onlyonce/onlyonce/internal/fasthttpidem/fasthttptest"
	"github.com/onlyonce/onlyonce/internal/httpcontract"
)

var adapter = httpcontract.Adapter{
	UUIDOnly:  idempotencyfiber.UUIDOnly,
	MinLength: idempotencyfiber.MinLength,
	WriteProblem: func(w http.ResponseWriter, err error) {
		answerOf(func(c fiber.Ctx) error {
			idempotencyfiber.WriteProblem(c, err)
			return nil
		}).ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", nil))
	},
	Flusher: true,
	Mount:   mount,
	Resume: func(handler http.Handler, config httpcontract.ResumeConfig) idempotency.Resume {
		app := newApp()
		app.Use(wrapped(handler))
		return idempotencyfiber.Resume(app, idempotencyfiber.ResumeConfig(config))
	},
	Listen: fasthttptest.Listen,
	Cannot: httpcontract.Fasthttp,
}

func TestTheContractInMemoryAndOnPostgres(t *testing.T) {
	t.Parallel()
	httpcontract.Run(t, adapter)
}

func newApp() *fiber.App {
	return fiber.New(fiber.Config{BodyLimit: fasthttptest.BodyLimit, ReadBufferSize: fasthttptest.HeaderLimit})
}

// wrapped has Fiber run what is written for net/http.
func wrapped(handler http.Handler) fiber.Handler {
	return func(c fiber.Ctx) error {
		fasthttptest.Serve(handler, c.RequestCtx(), c.Context())
		return nil
	}
}

func answerOf(handler fiber.Handler) http.Handler {
	app := newApp()
	app.Use(handler)
	return serverOf(app)
}

func serverOf(app *fiber.App) *fasthttptest.App {
	_ = app.Handler() // which finishes the routes
	return fasthttptest.NewApp(app.Server())
}

func requestOf(c fiber.Ctx) *http.Request {
	return fasthttpidem.NewRequest(c.RequestCtx(), c.Context())
}

func mount(engine *idempotency.Engine, config httpcontract.Config, next http.HandlerFunc) (http.Handler, error) {
	var own idempotencyfiber.Config
	httpcontract.Configure(&own, config, requestOf)
	protect, err := idempotencyfiber.Middleware(engine, own)
	if err != nil {
		return nil, err
	}
	app := newApp()
	app.All("/*", protect, wrapped(next))
	return serverOf(app), nil
}
