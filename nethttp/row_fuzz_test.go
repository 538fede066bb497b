package nethttp_test

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/nethttp"
)

// Whatever stands in a row: on the wire it is one whole response for each request, with the row's own status and body, or it is
// told to be unreadable. Nobody writes headers or further responses into a connection through the database.
func FuzzAnyRowIsOneResponse(f *testing.F) {
	for _, seed := range []struct {
		status       int
		header, body string
	}{
		{200, "", "paid"}, {201, "Content-Type: text/plain\r\nLocation: /a\r\n", "paid"}, {204, "", "HTTP/1.1 200 OK\r\n\r\n"}, {304, "Etag: a\r\n", "x"},
		{103, "", ""}, {600, "", ""}, {-1, "", ""}, {200, "Content-Length: 5\r\n", "paid"}, {200, "Transfer-Encoding: chunked\r\n", "0\r\n\r\n"},
		{200, "Link: a\r\n\r\nHTTP/1.1 200 OK\r\n", ""}, {200, "Link: a\nSet-Cookie: b\r\n", ""}, {200, "Connection: close\r\n", ""},
		{205, "", "x"}, {206, "Content-Range: bytes 0-0/9\r\n", "x"}, {407, "Vary: *\r\nVary: a\r\n", strings.Repeat("x", 3000)}, {500, "X-A: \xff\r\n", ""},
	} {
		f.Add(seed.status, []byte(seed.header), []byte(seed.body))
	}
	f.Fuzz(func(t *testing.T, status int, header, body []byte) {
		runs := 0
		handler, store := protected(t, nethttp.Config{}, func(http.ResponseWriter, *http.Request) { runs++ })
		said := "POST / HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k\r\nContent-Length: 0\r\n\r\n"
		play(t, handler, []byte(said))
		store.Damage(idempotency.Key{Scope: idempotency.SharedScope, Value: "k"}, idempotency.Response{Status: status, Header: header, Body: body})

		heard := bufio.NewReader(strings.NewReader(play(t, handler, []byte(said+said))))
		for range 2 {
			response, err := http.ReadResponse(heard, nil)
			require.NoError(t, err)
			got, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			for _, name := range []string{"Set-Cookie", "Www-Authenticate", "Authorization", "Trailer", "Upgrade", "Keep-Alive", "Connection"} {
				require.Empty(t, response.Header.Values(name), name)
			}
			require.Empty(t, response.Trailer)
			if response.Header.Get("Idempotent-Replayed") == "" {
				require.Equal(t, http.StatusInternalServerError, response.StatusCode)
				require.Contains(t, string(got), `"code":"record-unreadable"`)
				require.LessOrEqual(t, len(response.Header), 3, "headers of a row that cannot be read")
				continue
			}
			require.Equal(t, status, response.StatusCode)
			if status != http.StatusNoContent && status != http.StatusNotModified {
				require.Equal(t, string(body), string(got))
			} else {
				require.Empty(t, got)
			}
		}
		_, err := heard.ReadByte()
		require.ErrorIs(t, err, io.EOF, "more than was asked for")
		require.Equal(t, 1, runs)
	})
}
