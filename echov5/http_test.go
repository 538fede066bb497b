package idempotencyecho_test

import (
	"net/http"
	"testing"

	"github.com/labstack/echo/v5"

	idempotencyecho "github.com/onlyonce/onlyonce/echov5"
	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/httpcontract"
)

var adapter = httpcontract.Adapter{
	UUIDOnly:     idempotencyecho.UUIDOnly,
	MinLength:    idempotencyecho.MinLength,
	WriteProblem: idempotencyecho.WriteProblem,
	OneStatus:    true,
	Flusher:      true,
	Mount:        mount,
	Resume: func(handler http.Handler, config httpcontract.ResumeConfig) idempotency.Resume {
		return idempotencyecho.Resume(handler, idempotencyecho.ResumeConfig(config))
	},
}

func TestTheContractInMemoryAndOnPostgres(t *testing.T) {
	t.Parallel()
	httpcontract.Run(t, adapter)
}

func mount(engine *idempotency.Engine, config httpcontract.Config, next http.HandlerFunc) (http.Handler, error) {
	var own idempotencyecho.Config
	httpcontract.Configure(&own, config, (*echo.Context).Request)
	protect, err := idempotencyecho.Middleware(engine, own)
	if err != nil {
		return nil, err
	}
	server := echo.New()
	server.Any("/*", echo.WrapHandler(next), protect)
	return server, nil
}
