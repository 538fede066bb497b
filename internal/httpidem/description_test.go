package httpidem_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/httpidem"
)

func describe(t testing.TB, r *http.Request, body string, names ...string) []byte {
	stored, err := httpidem.Describe(r, []byte(body), names...)
	require.NoError(t, err)
	return stored
}

func TestADescriptionIsStoredInThisForm(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest(http.MethodPost, "/a%2Fb?c=d", nil)
	r.Header["Accept"] = []string{"text/plain", ""}
	r.Header["X-Other"] = []string{"not stored"}
	// Keys that are pending when the code is deployed are read by the new code: this must not change without a new version.
	require.Equal(t, "\x01\x04POST\x0a/a%2Fb?c=d\x0bexample.com\x02\x06Accept\x0atext/plain\x06Accept\x00\x04paid",
		string(describe(t, r, "paid", "Accept", "Content-Type")))
}

func TestARequestIsMadeAgainAsAServerHasIt(t *testing.T) {
	t.Parallel()
	type valueKey struct{}
	ctx := context.WithValue(t.Context(), valueKey{}, "kept")
	for _, tt := range []struct{ name, target, path, escaped, query string }{
		{"plain", "/payments", "/payments", "/payments", ""},
		{"escaped", "/a%2Fb%41?x=%20&y", "/a/bA", "/a%2Fb%41", "x=%20&y"},
		{"a proxy's", "http://shop.example/payments?x", "/payments", "/payments", "x"},
		{"the server itself", "*", "*", "*", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			first := httptest.NewRequest(http.MethodPatch, tt.target, nil)
			first.Header["X-A"] = []string{"1", "2"}
			stored := describe(t, first, "body", "X-A")
			again, err := httpidem.RequestOf(ctx, stored)
			require.NoError(t, err)
			require.Equal(t, http.MethodPatch, again.Method)
			require.Equal(t, tt.target, again.RequestURI)
			require.Equal(t, tt.path, again.URL.Path)
			require.Equal(t, tt.escaped, again.URL.EscapedPath())
			require.Equal(t, tt.query, again.URL.RawQuery)
			require.Equal(t, first.Host, again.Host)
			require.Equal(t, http.Header{"X-A": {"1", "2"}}, again.Header)
			require.EqualValues(t, 4, again.ContentLength)
			require.True(t, again.ProtoAtLeast(1, 1))
			require.Empty(t, again.RemoteAddr)
			require.Equal(t, "kept", again.Context().Value(valueKey{}))
			body, err := io.ReadAll(again.Body)
			require.NoError(t, err)
			require.NoError(t, again.Body.Close())
			require.Equal(t, "body", string(body))
		})
	}
}

func TestARequestThatDidNotComeFromAServerIsDescribedByItsURL(t *testing.T) {
	t.Parallel()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://shop.example/a%2Fb?c", nil)
	require.NoError(t, err)
	again, err := httpidem.RequestOf(t.Context(), describe(t, r, ""))
	require.NoError(t, err)
	require.Equal(t, "/a%2Fb?c", again.RequestURI)
	require.Equal(t, "shop.example", again.Host)
	require.Equal(t, http.NoBody, again.Body)
	require.Zero(t, again.ContentLength)
}

func TestADamagedDescriptionIsNoRequest(t *testing.T) {
	t.Parallel()
	const whole = "\x01\x04POST\x02/a\x01h\x02\x01A\x011\x01B\x012\x04paid"
	_, err := httpidem.RequestOf(t.Context(), []byte(whole))
	require.NoError(t, err)
	damaged := map[string]string{
		"another version":            "\x02" + whole[1:],
		"something behind it":        whole + "x",
		"a length too long":          strings.Replace(whole, "\x04POST", "\x84\x00POST", 1),
		"a length of 64 bits":        strings.Replace(whole, "\x04POST", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01POST", 1),
		"a length over 64 bits":      strings.Replace(whole, "\x04POST", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7fPOST", 1),
		"no method":                  strings.Replace(whole, "\x04POST", "\x00", 1),
		"no URI":                     strings.Replace(whole, "\x02/a", "\x00", 1),
		"a URI that is none":         strings.Replace(whole, "\x02/a", "\x02 a", 1),
		"a number of lines too high": strings.Replace(whole, "h\x02", "h\x03", 1),
		"endless lines":              strings.Replace(whole, "h\x02", "h\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 1),
		"lines in another order":     strings.Replace(whole, "A\x011\x01B", "C\x011\x01B", 1),
		"a name in small letters":    strings.Replace(whole, "\x01B", "\x01b", 1),
		"a name that is none":        strings.Replace(whole, "\x01A", "\x01:", 1),
		"a credential":               strings.Replace(whole, "\x01A", "\x0dAuthorization", 1),
	}
	for end := range len(whole) {
		damaged["cut after "+whole[:end]] = whole[:end]
	}
	for name, stored := range damaged {
		require.NotEqual(t, whole, stored, name)
		_, err := httpidem.RequestOf(t.Context(), []byte(stored))
		require.ErrorContains(t, err, "stored", name)
	}
}

func FuzzDescription(f *testing.F) {
	for _, seed := range []string{
		"", "\x01", "\x01\x04POST\x02/a\x01h\x02\x01A\x011\x01A\x012\x04paid", "\x01\x04POST\x01*\x00\x00\x00", "\x01\x04POST\x02 a\x00\x00\x00",
		"\x01\x04POST\x84\x00/a\x00\x00\x00", "\x01\x04POST\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\x01\x01P\x01/\x00\xff\xff\xff\xff\x7f",
		"\x01\x04POST\x13http://h:80/a%2Fb?c\x01h\x01\x06Cookie\x01a\x00", "\x02\x04POST\x02/a\x01h\x00\x00",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, stored []byte) {
		before := bytes.Clone(stored)
		r, err := httpidem.RequestOf(t.Context(), stored)
		if err != nil {
			return
		}
		body, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		require.EqualValues(t, len(body), r.ContentLength)
		var names []string
		for name := range r.Header {
			require.NotContains(t, []string{"Authorization", "Cookie", "Proxy-Authorization"}, name)
			names = append(names, name)
		}
		slices.Sort(names)
		require.Equal(t, before, describe(t, r, string(body), names...), "two descriptions of one request")
	})
}

func FuzzADescribedRequestCanBeMadeAgain(f *testing.F) {
	f.Add("POST", "/a%2Fb?c=d", "example.com", "text/plain", "fr", []byte("{}"))
	f.Add("PATCH", "http://h/", "", "", "\x00\r\n", []byte("\x00\xff"))
	f.Add("PUT", "*", "[::1]:80", "\x7f", "\xff", []byte(nil))
	f.Fuzz(func(t *testing.T, method, target, host, first, second string, body []byte) {
		if _, err := url.ParseRequestURI(target); method == "" || err != nil && target != "*" {
			t.Skip("no server takes it")
		}
		r := &http.Request{Method: method, RequestURI: target, Host: host, Header: http.Header{"Accept": {first, second}, "X-Other": {second}}}
		again, err := httpidem.RequestOf(t.Context(), describe(t, r, string(body), "Accept", "Content-Type"))
		require.NoError(t, err)
		require.Equal(t, []string{method, target, host}, []string{again.Method, again.RequestURI, again.Host})
		require.Equal(t, http.Header{"Accept": {first, second}}, again.Header)
		got, err := io.ReadAll(again.Body)
		require.NoError(t, err)
		require.Equal(t, string(body), string(got))
	})
}
