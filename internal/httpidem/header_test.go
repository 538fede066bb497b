package httpidem_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/httpidem"
	"github.com/onlyonce/onlyonce/memstore"
)

func TestWhatIsStoredOfAHeader(t *testing.T) {
	t.Parallel()
	list := []string{"Content-Type", "Link", "Location"}
	for _, c := range []struct {
		name           string
		before, header http.Header
		stored         string
	}{
		{"nothing", nil, nil, ""},
		{"nothing that is on the list", nil, http.Header{"X-A": {"1"}, "Set-Cookie": {"a=b"}}, ""},
		{"in the order of the list", nil, http.Header{"Location": {"/a"}, "Content-Type": {"text/plain"}}, "Content-Type: text/plain\r\nLocation: /a\r\n"},
		{"several values in their order", nil, http.Header{"Link": {"b", "a", "b"}}, "Link: b\r\nLink: a\r\nLink: b\r\n"},
		{"an empty value", nil, http.Header{"Link": {""}}, "Link: \r\n"},
		{"no values", nil, http.Header{"Link": {}}, ""},
		{"white space around a value", nil, http.Header{"Link": {"\t a b \t"}}, "Link: a b\r\n"},
		{"line breaks", nil, http.Header{"Link": {"a\r\nSet-Cookie: b"}}, "Link: a  Set-Cookie: b\r\n"},
		{"control characters", nil, http.Header{"Link": {"a\x00\x1b\x7fb", "\x00"}}, "Link: a   b\r\nLink: \r\n"},
		{"a tab and other alphabets", nil, http.Header{"Link": {"a\tü\xff"}}, "Link: a\tü\xff\r\n"},
		{"a colon in a value", nil, http.Header{"Link": {"a: b"}}, "Link: a: b\r\n"},
		{"what outer middleware set", http.Header{"Link": {"a"}}, http.Header{"Link": {"a"}, "Location": {"/a"}}, "Location: /a\r\n"},
		{"what outer middleware set, added to", http.Header{"Link": {"a"}}, http.Header{"Link": {"a", "b"}}, "Link: a\r\nLink: b\r\n"},
		{"what outer middleware set, replaced", http.Header{"Link": {"a"}}, http.Header{"Link": {"b"}}, "Link: b\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := httptest.NewRecorder()
			for name, values := range c.before {
				w.Header()[name] = values
			}
			recorder := httpidem.NewRecorder(w, 1)
			for name, values := range c.header {
				recorder.Header()[name] = values
			}
			response, err := recorder.Response(list)
			require.NoError(t, err)
			require.Equal(t, c.stored, string(response.Header))
			_, _, err = decoded(response.Header)
			require.NoError(t, err)
		})
	}
}

func TestAStoredHeaderIsReadStrictly(t *testing.T) {
	t.Parallel()
	for stored, want := range map[string]http.Header{
		"":                                   {},
		"Link: a\r\n":                        {"Link": {"a"}},
		"Link: a\r\nLink: \r\nX-A: b: c\r\n": {"Link": {"a", ""}, "X-A": {"b: c"}},
		"Link: a\tü\xff\r\n":                 {"Link": {"a\tü\xff"}},
	} {
		header, _, err := decoded([]byte(stored))
		require.NoError(t, err, "%q", stored)
		require.Equal(t, want, header)
	}
	bad := []string{
		"Link", "Link: a", "Link: a\n", "Link: a\r", "Link:a\r\n", "Link : a\r\n", " Link: a\r\n", ": a\r\n", "\r\n", "link: a\r\n",
		"LINK: a\r\n", "Li\x00nk: a\r\n", "Lünk: a\r\n", "Li nk: a\r\n", "Li(nk: a\r\n", "Link: a\rb\r\n", "Link: a\nb\r\n", "Link: \x00\r\n",
		"Link: \x7f\r\n", "Link: \x1b\r\n", "Link: a\r\n\r\n", "{}", "\x00",
	}
	for _, name := range neverStored {
		bad = append(bad, name+": a\r\n")
	}
	for _, stored := range bad {
		for _, text := range []string{stored, "Location: /a\r\n" + stored} {
			header, calls, err := decoded([]byte(text))
			require.Error(t, err, "%q", text)
			require.Zero(t, calls, "%q: some of it was taken", text)
			require.Empty(t, header)
		}
	}
}

func TestAHeaderThatMustNotBeReplayedIsRefusedByItsName(t *testing.T) {
	t.Parallel()
	store, err := memstore.New(memstore.Config{})
	require.NoError(t, err)
	engine, err := idempotency.New(store, idempotency.Config{})
	require.NoError(t, err)
	for _, name := range append([]string{"set-cookie", "", "X A", "X:A", "X-A\r\nX-B", "Ü"}, neverStored...) {
		_, err := httpidem.NewRules(engine, httpidem.Options{ReplayHeaders: []string{"X-Fine", name}})
		require.ErrorContains(t, err, "take it off ReplayHeaders", name)
	}
	for _, name := range []string{"", "X A", "X:A"} {
		_, err := httpidem.NewRules(engine, httpidem.Options{Headers: []string{name}})
		require.ErrorContains(t, err, "Headers has", name)
		_, err = httpidem.NewRules(engine, httpidem.Options{FingerprintHeaders: []string{name}})
		require.ErrorContains(t, err, "FingerprintHeaders has", name)
	}
	_, err = httpidem.NewRules(engine, httpidem.Options{MaxRequestBytes: -1})
	require.ErrorContains(t, err, "MaxRequestBytes is -1")
	_, err = httpidem.NewRules(nil, httpidem.Options{})
	require.ErrorContains(t, err, "idempotency.New")
}
