package httpidem_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/httpidem"
)

// neverStored is written out here, so that a name that the code forgets is missed.
var neverStored = []string{
	"Authorization", "Connection", "Content-Length", "Date", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
	"Proxy-Connection", "Set-Cookie", "Set-Cookie2", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Www-Authenticate",
}

// decoded is what DecodeHeader found, and how often it called set.
func decoded(stored []byte) (header http.Header, calls int, err error) {
	header = http.Header{}
	err = httpidem.DecodeHeader(stored, func(name, value string) { header.Add(name, value); calls++ })
	return header, calls, err
}

// recorded is what a handler's header is stored as.
func recorded(header http.Header, list ...string) ([]byte, error) {
	recorder := httpidem.NewRecorder(httptest.NewRecorder(), 1)
	for name, values := range header {
		recorder.Header()[name] = values
	}
	response, err := recorder.Response(list)
	return response.Header, err
}

func FuzzDecodeHeader(f *testing.F) {
	for _, seed := range []string{
		"", "\r\n", "Link: a\r\n", "Link: a\r\nLink: b\r\nX-A: \r\n", "Link: a", "Link: a\n", "Link:a\r\n", "link: a\r\n", ": a\r\n",
		"Link: a\rb\r\n", "Link: a\x00\r\n", "Link: \x7f\r\n", "Link: ü\r\n", "Lünk: a\r\n", "Link : a\r\n", "Link: a\r\nSet-Cookie: a\r\n",
		"Link: a\r\nDate: now\r\n", "Location: /a\r\n\r\n<html>", "Link: a: b\r\n", " Link: a\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, stored []byte) {
		header, calls, err := decoded(stored)
		if err != nil {
			require.Zero(t, calls, "some of what cannot be read was taken")
			return
		}
		for name, values := range header {
			require.NotContains(t, neverStored, name)
			require.Equal(t, http.CanonicalHeaderKey(name), name)
			require.False(t, strings.ContainsAny(name, "\r\n: \t"), "%q", name)
			for _, value := range values {
				require.False(t, strings.ContainsAny(value, "\r\n\x00"), "%q", value)
			}
		}
	})
}

func FuzzAHeaderThatIsStoredCanBeReplayed(f *testing.F) {
	for _, seed := range [][2]string{
		{"a", "b"}, {"", ""}, {" a ", "\tb\t"}, {"a\r\nSet-Cookie: b", "a\nb"}, {"\x00", "a\x00b"}, {"\x7f", "ü"}, {"\xff", ": "},
		{"a\r", "\r\n"}, {"\x1b[31m", "\x00 a"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		stored, err := recorded(http.Header{"Link": {first, second}, "Location": {second}, "X-Other": {first}}, "Link", "Location")
		require.NoError(t, err)
		header, calls, err := decoded(stored)
		require.NoError(t, err, "stored, and never to be read again: %q", stored)
		require.Equal(t, 3, calls)
		require.Len(t, header["Link"], 2)
		require.Len(t, header["Location"], 1)
		again, err := recorded(header, "Link", "Location")
		require.NoError(t, err)
		require.Equal(t, stored, again)
	})
}
