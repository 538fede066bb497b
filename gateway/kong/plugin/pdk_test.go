package plugin_test

import (
	"net/http"
	"testing"

	pdk "github.com/Kong/go-pdk/test"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/gateway/kong/plugin"
	"github.com/onlyonce/onlyonce/idempotency"
)

// go-pdk's own Kong: it replies to an exit, has each request buffered, and its source is always "service".
func TestThePluginRunsOnGoPDKsOwnEnvironment(t *testing.T) {
	t.Parallel()
	w := begin(t, &plugin.Config{})
	send := func() *pdk.TestEnv {
		env, err := pdk.New(t, pdk.Request{
			Method: "POST", Url: "http://example.com/v1/payments?x=1", Body: []byte(`{"amount": 100}`),
			Headers: http.Header{"Idempotency-Key": {"k1"}, "Content-Type": {"application/json"}},
		})
		require.NoError(t, err)
		env.DoAccess(w.config)
		return env
	}
	first := send()
	require.True(t, first.IsRunning())
	first.ServiceRes = pdk.Response{Status: 201, Headers: http.Header{"Location": {"/payments/1"}}, Body: []byte("done")}
	first.DoResponse(w.config)
	first.DoLog(w.config)
	assert.Equal(t, completed, w.state(idempotency.Key{Scope: "consumer:001", Value: "k1"}))

	second := send()
	assert.False(t, second.IsRunning())
	assert.Equal(t, 201, second.ClientRes.Status)
	assert.Equal(t, "done", string(second.ClientRes.Body))
	assert.Equal(t, "/payments/1", second.ClientRes.Headers.Get("Location"))
	assert.Equal(t, "true", second.ClientRes.Headers.Get("Idempotent-Replayed"))
}
