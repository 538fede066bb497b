package nethttp_test

import (
	"net/http"
	"testing"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/httpcontract"
	"github.com/onlyonce/onlyonce/nethttp"
)

var adapter = httpcontract.Adapter{
	UUIDOnly:     nethttp.UUIDOnly,
	MinLength:    nethttp.MinLength,
	WriteProblem: nethttp.WriteProblem,
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
}

func TestTheContractInMemoryAndOnPostgres(t *testing.T) {
	t.Parallel()
	httpcontract.Run(t, adapter)
}
