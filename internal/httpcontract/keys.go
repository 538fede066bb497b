package httpcontract

import (
	"errors"
	"net/http"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

var keyTests = []test{
	{"what is no key is refused before anything is done", whatIsNoKeyIsRefused},
	{"the spellings of a key are one key", theSpellingsOfAKeyAreOneKey},
	{"the longest key is a key", theLongestKeyIsAKey},
	{"keys of two scopes are two keys", keysOfTwoScopesAreTwoKeys},
	{"a caller without a scope is turned away", aCallerWithoutAScopeIsTurnedAway},
	{"a key comes from a body", aKeyComesFromABody},
	{"a validator refuses a key", aValidatorRefusesAKey},
}

func bothHeaders(_ *idempotency.Config, c *Config) {
	c.Headers = []string{"idempotency-key", "X-Idempotency-Key"}
}

func whatIsNoKeyIsRefused(w *world) {
	one := func(values ...string) http.Header { return http.Header{"Idempotency-Key": values} }
	route := w.route(w.pays(http.StatusCreated), bothHeaders)
	for _, tt := range []struct {
		name   string
		header http.Header
		code   idempotency.Code
	}{
		{"no header", nil, idempotency.CodeKeyMissing},
		{"another header", http.Header{"Idempotence-Key": {"k"}}, idempotency.CodeKeyMissing},
		{"empty", one(""), idempotency.CodeKeyInvalid},
		{"blank", one(" \t "), idempotency.CodeKeyInvalid},
		{"256 bytes", one(strings.Repeat("k", 256)), idempotency.CodeKeyInvalid},
		{"256 bytes in quotes", one(`"` + strings.Repeat("k", 256) + `"`), idempotency.CodeKeyInvalid},
		{"no UTF-8", one("k\xff"), idempotency.CodeKeyInvalid},
		{"no ASCII", one("clé"), idempotency.CodeKeyInvalid},
		{"NUL", one("k\x00"), idempotency.CodeKeyInvalid},
		{"line break", one("k\nk"), idempotency.CodeKeyInvalid},
		{"DEL", one("k\x7f"), idempotency.CodeKeyInvalid},
		{"blank inside", one("k k"), idempotency.CodeKeyInvalid},
		{"two values", one("k", "k"), idempotency.CodeKeyInvalid},
		{"two headers", http.Header{"Idempotency-Key": {"k"}, "X-Idempotency-Key": {"k"}}, idempotency.CodeKeyInvalid},
		{"joined by a comma", one("a,b"), idempotency.CodeKeyInvalid},
		{"joined by a comma, quoted", one(`"a","b"`), idempotency.CodeKeyInvalid},
		{"semicolon", one("a;b"), idempotency.CodeKeyInvalid},
		{"unclosed quote", one(`"k`), idempotency.CodeKeyInvalid},
		{"quote inside", one(`k"k`), idempotency.CodeKeyInvalid},
		{"nothing in quotes", one(`""`), idempotency.CodeKeyInvalid},
		{"blank in quotes", one(`"  "`), idempotency.CodeKeyInvalid},
		{"text after the quotes", one(`"k"k`), idempotency.CodeKeyInvalid},
		{"unknown escape", one(`"k\n"`), idempotency.CodeKeyInvalid},
		{"broken parameter", one(`"k";=1`), idempotency.CodeKeyInvalid},
	} {
		w.each(tt.name, func(w *world) {
			request := post("", "{}")
			for name, values := range tt.header {
				request.Header[name] = values
			}
			route.in(w).send(request).problem(tt.code)
		})
	}
	route.ran(0)
	w.hasRecords(0)
}

func theSpellingsOfAKeyAreOneKey(w *world) {
	route := w.route(w.pays(http.StatusCreated), bothHeaders)
	for _, spellings := range [][]string{
		{"k1", `"k1"`, ` "k1" `, "\tk1", `"k1";a;b=1;c="x;y"`, `"k1"; a=1.5`},
		{`"k,2"`, `"k,2";v=1`},
		{`"k\"3\\"`, `"k\"3\\";v`},
	} {
		var first answer
		for i, spelling := range spellings {
			got := route.post(spelling, "{}")
			if i == 0 {
				first = got
				first.is(http.StatusCreated, `{"status":"answered"}`)
				continue
			}
			got.replays(first)
		}
		other := post("", "{}")
		other.Header.Set("X-Idempotency-Key", spellings[0])
		route.send(other).replays(first)
	}
	route.ran(3)
	w.hasEffects(3)
}

func theLongestKeyIsAKey(w *world) {
	route := w.route(w.pays(http.StatusCreated))
	key := strings.Repeat("k", 255)
	first := route.post(key, "{}")
	first.is(http.StatusCreated, `{"status":"answered"}`)
	route.post(`"`+key+`"`, "{}").replays(first)
	route.post(key[1:], "{}").is(http.StatusCreated, `{"status":"answered"}`)
	route.ran(2)
}

func keysOfTwoScopesAreTwoKeys(w *world) {
	route := w.route(w.pays(http.StatusCreated), func(_ *idempotency.Config, c *Config) {
		c.Scope = func(r *http.Request) (string, error) { return r.Header.Get("Account"), nil }
	})
	for _, account := range []string{"alice", "bob"} {
		request := post("the-same-key", "{}")
		request.Header.Set("Account", account)
		route.send(request).is(http.StatusCreated, `{"status":"answered"}`)
	}
	route.ran(2)
	w.hasEffects(2)
}

func aCallerWithoutAScopeIsTurnedAway(w *world) {
	for name, scope := range map[string]func(*http.Request) (string, error){
		"none":     func(*http.Request) (string, error) { return "", nil },
		"an error": func(*http.Request) (string, error) { return "", errors.New("secret reason") },
		"both":     func(*http.Request) (string, error) { return "alice", errors.New("secret reason") },
		"too long": func(*http.Request) (string, error) { return strings.Repeat("a", 256), nil },
		"no text":  func(*http.Request) (string, error) { return "\xff", nil },
	} {
		w.each(name, func(w *world) {
			route := w.route(w.pays(http.StatusCreated), func(_ *idempotency.Config, c *Config) { c.Scope = scope })
			got := route.post("k", "{}")
			got.problem(idempotency.CodeScopeMissing)
			require.NotContains(w, got.body, "secret reason")
			route.ran(0)
		})
	}
	_, err := w.mount(w.pays(http.StatusCreated), func(_ *idempotency.Config, c *Config) { c.Scope = nil })
	require.ErrorContains(w, err, "SharedScope")
}

func aKeyComesFromABody(w *world) {
	route := w.route(w.pays(http.StatusCreated), func(_ *idempotency.Config, c *Config) {
		c.Key = func(r *http.Request, body []byte) (string, error) {
			switch string(body) {
			case "broken":
				return "", errors.New("secret reason")
			case "ours":
				return "", &idempotency.Error{Code: idempotency.CodeScopeMissing} // without a detail
			}
			return string(body), nil
		}
	})
	first := route.post("the header does not count", "message-1")
	first.is(http.StatusCreated, `{"status":"answered"}`)
	route.post("", "message-1").replays(first)
	route.post("", "message-2").is(http.StatusCreated, `{"status":"answered"}`)
	route.ran(2)

	route.post("k", "").problem(idempotency.CodeKeyMissing)
	route.post("k", "a\x00b").problem(idempotency.CodeKeyInvalid)
	broken := route.post("k", "broken")
	broken.problem(idempotency.CodeKeyInvalid)
	require.NotContains(w, broken.body, "secret reason")
	route.post("k", "ours").problem(idempotency.CodeScopeMissing)
	route.ran(0)
}

func aValidatorRefusesAKey(w *world) {
	for _, tt := range []struct {
		name      string
		validate  func(string) error
		good, bad string
		says      string
	}{
		{"UUIDs", w.adapter.UUIDOnly, "123e4567-e89b-12d3-a456-426614174000", "123e4567-e89b-12d3-a456-42661417400g", "UUID"},
		{"a length", w.adapter.MinLength(16), "0123456789abcdef", "0123456789abcde", "16"},
		{"the user's own", func(key string) error {
			if strings.HasPrefix(key, "bad") {
				return errors.New("secret reason")
			}
			return nil
		}, "good-1", "bad-1", ""},
	} {
		w.each(tt.name, func(w *world) {
			route := w.route(w.pays(http.StatusCreated), func(_ *idempotency.Config, c *Config) { c.Validate = tt.validate })
			bad := route.post(tt.bad, "{}")
			bad.problem(idempotency.CodeKeyInvalid)
			require.Contains(w, bad.body, tt.says)
			require.NotContains(w, bad.body, "secret reason")
			route.ran(0)
			route.post(tt.good, "{}").is(http.StatusCreated, `{"status":"answered"}`)
			route.ran(1)
		})
	}
}
