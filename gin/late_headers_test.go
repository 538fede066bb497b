package idempotencygin_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"
)

// buffering is what middleware does that must see a body before it knows the headers: compression, signatures, digests.
type buffering struct {
	gin.ResponseWriter
	body bytes.Buffer
}

func (b *buffering) Write(p []byte) (int, error)       { return b.body.Write(p) }
func (b *buffering) WriteString(s string) (int, error) { return b.body.WriteString(s) }

func compressing(c *gin.Context) {
	w := &buffering{ResponseWriter: c.Writer}
	c.Writer = w
	c.Next()
	c.Writer = w.ResponseWriter
	c.Header("Content-Encoding", "gzip")
	out := gzip.NewWriter(c.Writer)
	_, _ = out.Write(w.body.Bytes())
	_ = out.Close()
}

func TestMiddlewareOutsideMaySetHeadersWhenItHasSeenTheBody(t *testing.T) {
	t.Parallel()
	s := newShop(t, func(c *gin.Context) { c.JSON(http.StatusCreated, "made") }, around{outer: []gin.HandlerFunc{compressing}})
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	for range 2 { // and a replay
		r := order("k")
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/orders/7", r.Body)
		require.NoError(t, err)
		request.Header = r.Header
		got, err := server.Client().Do(request)
		require.NoError(t, err)
		body, err := io.ReadAll(got.Body)
		require.NoError(t, err)
		require.NoError(t, got.Body.Close())
		require.Equal(t, http.StatusCreated, got.StatusCode)
		require.Equal(t, `"made"`, string(body))
	}
}
