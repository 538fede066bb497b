package nethttp_test

import (
	"net/http"
	"testing"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/httpsuite"
	"github.com/onlyonce/onlyonce/nethttp"
)

func TestContract(t *testing.T) {
	t.Parallel()
	httpsuite.Run(t, httpsuite.Adapter{
		UUIDOnly:  nethttp.UUIDOnly,
		MinLength: nethttp.MinLength,
		Mount: func(engine *idempotency.Engine, config httpsuite.Config, next http.HandlerFunc) (http.Handler, error) {
			protect, err := nethttp.Middleware(engine, nethttp.Config(config))
			if err != nil {
				return nil, err
			}
			return protect(next), nil
		},
	})
}
