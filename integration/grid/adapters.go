package grid

import (
	"net/http"
	"net/http/httptest"

	"github.com/gin-gonic/gin"
	fiberv2 "github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v3"
	"github.com/labstack/echo/v4"
	echov5 "github.com/labstack/echo/v5"

	idempotencyecho "github.com/onlyonce/onlyonce/echo"
	idempotencyechov5 "github.com/onlyonce/onlyonce/echov5"
	idempotencyfiber "github.com/onlyonce/onlyonce/fiber"
	idempotencyfiberv2 "github.com/onlyonce/onlyonce/fiberv2"
	idempotencygin "github.com/onlyonce/onlyonce/gin"
	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/fasthttpidem"
	"github.com/onlyonce/onlyonce/internal/fasthttpidem/fasthttptest"
	"github.com/onlyonce/onlyonce/internal/httpcontract"
	"github.com/onlyonce/onlyonce/nethttp"
)

func init() { gin.SetMode(gin.ReleaseMode) } // in which it prints nothing

// adapters are all that there are, under the names of their folders. Each one's own tests hold it to the contract in memory and on
// Postgres.
var adapters = map[string]httpcontract.Adapter{
	"nethttp": {
		UUIDOnly: nethttp.UUIDOnly, MinLength: nethttp.MinLength, WriteProblem: nethttp.WriteProblem,
		Mount: func(engine *idempotency.Engine, config httpcontract.Config, next http.HandlerFunc) (http.Handler, error) {
			protect, err := nethttp.Middleware(engine, nethttp.Config(config))
			if err != nil {
				return nil, err
			}
			return protect(next), nil
		},
		Resume: func(handler http.Handler, config httpcontract.ResumeConfig) idempotency.Resume {
			return nethttp.Resume(handler, nethttp.ResumeConfig(config))
		},
	},
	"echo": {
		UUIDOnly: idempotencyecho.UUIDOnly, MinLength: idempotencyecho.MinLength, WriteProblem: idempotencyecho.WriteProblem,
		OneStatus: true, Flusher: true,
		Mount: func(engine *idempotency.Engine, config httpcontract.Config, next http.HandlerFunc) (http.Handler, error) {
			var own idempotencyecho.Config
			httpcontract.Configure(&own, config, echo.Context.Request)
			protect, err := idempotencyecho.Middleware(engine, own)
			if err != nil {
				return nil, err
			}
			server := echo.New()
			server.Any("/*", echo.WrapHandler(next), protect)
			return server, nil
		},
		Resume: func(handler http.Handler, config httpcontract.ResumeConfig) idempotency.Resume {
			return idempotencyecho.Resume(handler, idempotencyecho.ResumeConfig(config))
		},
	},
	"echov5": {
		UUIDOnly: idempotencyechov5.UUIDOnly, MinLength: idempotencyechov5.MinLength, WriteProblem: idempotencyechov5.WriteProblem,
		OneStatus: true, Flusher: true,
		Mount: func(engine *idempotency.Engine, config httpcontract.Config, next http.HandlerFunc) (http.Handler, error) {
			var own idempotencyechov5.Config
			httpcontract.Configure(&own, config, (*echov5.Context).Request)
			protect, err := idempotencyechov5.Middleware(engine, own)
			if err != nil {
				return nil, err
			}
			server := echov5.New()
			server.Any("/*", echov5.WrapHandler(next), protect)
			return server, nil
		},
		Resume: func(handler http.Handler, config httpcontract.ResumeConfig) idempotency.Resume {
			return idempotencyechov5.Resume(handler, idempotencyechov5.ResumeConfig(config))
		},
	},
	"gin": {
		UUIDOnly: idempotencygin.UUIDOnly, MinLength: idempotencygin.MinLength, WriteProblem: idempotencygin.WriteProblem,
		Flusher: true, Deferred: true,
		Mount: func(engine *idempotency.Engine, config httpcontract.Config, next http.HandlerFunc) (http.Handler, error) {
			var own idempotencygin.Config
			httpcontract.Configure(&own, config, func(c *gin.Context) *http.Request { return c.Request })
			protect, err := idempotencygin.Middleware(engine, own)
			if err != nil {
				return nil, err
			}
			server := gin.New()
			server.HandleMethodNotAllowed = true
			server.RedirectTrailingSlash = false // it would send a target without a path elsewhere, before the middleware is asked
			server.Any("/*path", protect, gin.WrapF(next))
			return server, nil
		},
		Resume: func(handler http.Handler, config httpcontract.ResumeConfig) idempotency.Resume {
			return idempotencygin.Resume(handler, idempotencygin.ResumeConfig(config))
		},
	},
	"fiber": {
		UUIDOnly: idempotencyfiber.UUIDOnly, MinLength: idempotencyfiber.MinLength, Listen: fasthttptest.Listen, Cannot: httpcontract.Fasthttp,
		Flusher: true,
		WriteProblem: func(w http.ResponseWriter, err error) {
			app := fiberApp()
			app.Use(func(c fiber.Ctx) error {
				idempotencyfiber.WriteProblem(c, err)
				return nil
			})
			fiberServer(app).ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", nil))
		},
		Mount: func(engine *idempotency.Engine, config httpcontract.Config, next http.HandlerFunc) (http.Handler, error) {
			var own idempotencyfiber.Config
			httpcontract.Configure(&own, config, func(c fiber.Ctx) *http.Request { return fasthttpidem.NewRequest(c.RequestCtx(), c.Context()) })
			protect, err := idempotencyfiber.Middleware(engine, own)
			if err != nil {
				return nil, err
			}
			app := fiberApp()
			app.All("/*", protect, wrap(next))
			return fiberServer(app), nil
		},
		Resume: func(handler http.Handler, config httpcontract.ResumeConfig) idempotency.Resume {
			app := fiberApp()
			app.Use(wrap(handler))
			return idempotencyfiber.Resume(app, idempotencyfiber.ResumeConfig(config))
		},
	},
	"fiberv2": {
		UUIDOnly: idempotencyfiberv2.UUIDOnly, MinLength: idempotencyfiberv2.MinLength, Listen: fasthttptest.Listen, Cannot: httpcontract.Fasthttp,
		Flusher: true,
		WriteProblem: func(w http.ResponseWriter, err error) {
			app := fiberv2App()
			app.Use(func(c *fiberv2.Ctx) error {
				idempotencyfiberv2.WriteProblem(c, err)
				return nil
			})
			fiberv2Server(app).ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", nil))
		},
		Mount: func(engine *idempotency.Engine, config httpcontract.Config, next http.HandlerFunc) (http.Handler, error) {
			var own idempotencyfiberv2.Config
			httpcontract.Configure(&own, config, func(c *fiberv2.Ctx) *http.Request { return fasthttpidem.NewRequest(c.Context(), c.UserContext()) })
			protect, err := idempotencyfiberv2.Middleware(engine, own)
			if err != nil {
				return nil, err
			}
			app := fiberv2App()
			app.All("/*", protect, wrapv2(next))
			return fiberv2Server(app), nil
		},
		Resume: func(handler http.Handler, config httpcontract.ResumeConfig) idempotency.Resume {
			app := fiberv2App()
			app.Use(wrapv2(handler))
			return idempotencyfiberv2.Resume(app, idempotencyfiberv2.ResumeConfig(config))
		},
	},
}
