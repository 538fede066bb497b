package idempotencygin_test

import (
	"net/http"
	"os"
	"testing"

	"github.com/gin-gonic/gin"

	idempotencygin "github.com/onlyonce/onlyonce/gin"
	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/httpcontract"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.TestMode) // which says less
	os.Exit(m.Run())
}

var adapter = httpcontract.Adapter{
	UUIDOnly:     idempotencygin.UUIDOnly,
	MinLength:    idempotencygin.MinLength,
	WriteProblem: idempotencygin.WriteProblem,
	Flusher:      true,
	Deferred:     true,
	Mount:        mount,
	Resume: func(handler http.Handler, config httpcontract.ResumeConfig) idempotency.Resume {
		return idempotencygin.Resume(handler, idempotencygin.ResumeConfig(config))
	},
}

func TestTheContractInMemoryAndOnPostgres(t *testing.T) {
	t.Parallel()
	httpcontract.Run(t, adapter)
}

func mount(engine *idempotency.Engine, config httpcontract.Config, next http.HandlerFunc) (http.Handler, error) {
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
}
