package httpidem_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/httpidem"
)

func TestWhatIsStoredOfHeadersThatACallerHasGiven(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		given  http.Header
		stored string
		wrong  string
	}{
		{"nothing", nil, "", ""},
		{"all of them, by name", http.Header{"X-B": {"2"}, "x-a": {"1"}, "content-type": {"text/plain"}}, "Content-Type: text/plain\r\nX-A: 1\r\nX-B: 2\r\n", ""},
		{"what is never replayed", http.Header{"set-cookie": {"a=b"}, "Date": {"today"}, "Content-Length": {"3"}, "Link": {"a", "b"}}, "Link: a\r\nLink: b\r\n", ""},
		{"no values", http.Header{"Link": {}}, "", ""},
		{"white space", http.Header{"Link": {" a "}}, "Link: a\r\n", ""},
		{"two spellings", http.Header{"Link": {"a"}, "link": {"b"}}, "", "two spellings"},
		{"a line break", http.Header{"Link": {"a\r\nX: y"}}, "", "line break"},
		{"a line break in what is never replayed", http.Header{"Set-Cookie": {"a\nb"}}, "", "line break"},
		{"a name with a colon", http.Header{"Li:nk": {"a"}}, "", "no header's name"},
		{"no name", http.Header{"": {"a"}}, "", "no header's name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			stored, err := httpidem.EncodeGiven(c.given)
			if c.wrong != "" {
				require.ErrorContains(t, err, c.wrong)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.stored, string(stored))
			require.NoError(t, httpidem.DecodeHeader(stored, func(string, string) {}))
		})
	}
}
