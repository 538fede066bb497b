package httpcontract

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

var tenantTests = []test{
	{"a tenant sees nothing of what another one did with a key", aTenantSeesNothingOfAnothersKey},
	{"a key that another tenant has guessed works as any other", aGuessedKeyWorksAsAnyOther},
	{"names that look alike are different keys", namesThatLookAlikeAreDifferentKeys},
	{"a name that could be taken for another one is refused", aNameThatCouldBeTakenForAnotherIsRefused},
	{"how long an answer takes does not tell of another tenant's key", anAnswersTimeTellsNothing},
}

// bank is a route of many tenants, whose requests say what is to become of them. Mallory is the one who guesses other tenants' keys.
type bank struct {
	*route
	numbers atomic.Int64
	inside  chan struct{}
	release chan struct{}
	staying sync.WaitGroup
}

// bank returns one whose limits a single tenant can exhaust.
func (w *world) bank() *bank {
	b := &bank{inside: make(chan struct{}), release: make(chan struct{})}
	b.route = w.route(b.handle, byAccount, waiting, atMost(2), func(e *idempotency.Config, _ *Config) { e.MaxWaiters = 1 })
	w.Cleanup(func() {
		close(b.release)
		b.staying.Wait()
	})
	return b
}

func (b *bank) handle(writer http.ResponseWriter, r *http.Request) {
	switch r.Header.Get("Do") {
	case "refuse":
		writer.WriteHeader(http.StatusPaymentRequired)
		return
	case "leave":
		_, _ = idempotency.Atomic(r.Context(), "begun", func(context.Context) (int, error) { return 1, nil })
		fallthrough
	case "fail":
		writer.WriteHeader(http.StatusServiceUnavailable)
		return
	case "stay":
		b.inside <- struct{}{}
		<-b.release
	}
	b.effect(r.Context())
	writer.Header().Set("Location", "/payments/"+r.Header.Get("Account"))
	writer.WriteHeader(http.StatusCreated)
	_, _ = fmt.Fprint(writer, "payment ", b.numbers.Add(1), " of ", r.Header.Get("Account"))
}

// ask sends a request of account that says what is to become of it.
func (b *bank) ask(account, key, body, what string) answer {
	b.Helper()
	request := post(key, body)
	request.Header.Set("Account", account)
	request.Header.Set("Do", what)
	return b.send(request)
}

// stay leaves a request of mallory's in its handler until the test ends.
func (b *bank) stay(key string) {
	b.Helper()
	b.staying.Go(func() { b.ask("mallory", key, "{}", "stay") })
	within(b.world, b.inside)
}

// states are what mallory may have made of a key.
var states = []struct {
	name  string
	bring func(b *bank, key string)
}{
	{"completed", func(b *bank, key string) {
		require.Equal(b, http.StatusCreated, b.ask("mallory", key, "{}", "").status)
	}},
	{"refused", func(b *bank, key string) {
		require.Equal(b, http.StatusPaymentRequired, b.ask("mallory", key, "{}", "refuse").status)
	}},
	{"tried in vain", func(b *bank, key string) {
		require.Equal(b, http.StatusServiceUnavailable, b.ask("mallory", key, "{}", "fail").status)
	}},
	{"left at a recovery point", func(b *bank, key string) {
		b.recovers()
		require.Equal(b, http.StatusServiceUnavailable, b.ask("mallory", key, "{}", "leave").status)
	}},
	{"running", func(b *bank, key string) { b.stay(key) }},
	{"running, and mallory is at every limit", func(b *bank, key string) {
		b.recovers()
		for _, left := range []string{"left-1", "left-2"} {
			require.Equal(b, http.StatusServiceUnavailable, b.ask("mallory", left, "{}", "leave").status)
		}
		b.ask("mallory", "left-3", "{}", "leave").problem(idempotency.CodeTooManyPending)
		b.stay(key)
		b.stay("another-" + key)
		b.ask("mallory", "one-more", "{}", "").problem(idempotency.CodeTooManyPending)
		turnedAway := make(chan answer, 2)
		for range cap(turnedAway) {
			b.staying.Go(func() { turnedAway <- b.ask("mallory", key, "{}", "") })
		}
		within(b.world, turnedAway).problem(idempotency.CodeInProgress) // the other one waits, in the only place
	}},
}

const guessed = "guessed-key"

// inEachState runs a case on a store of its own for each state of mallory's key, which is the guessed one.
func (w *world) inEachState(run func(b *bank)) {
	for _, state := range states {
		w.each(state.name, func(w *world) {
			fresh := *w
			fresh.pool = nil
			w.open(&fresh)
			b := fresh.bank()
			state.bring(b, guessed)
			run(b)
		})
	}
}

func aTenantSeesNothingOfAnothersKey(w *world) {
	w.inEachState(func(b *bank) {
		for i, tt := range []struct{ body, what string }{{"{}", "fail"}, {"other", "fail"}, {"{}", "refuse"}, {"other", "refuse"}, {"{}", ""}, {"other", ""}} {
			// Each by a tenant who comes for the first time: with mallory's key, and with one that nobody has.
			one, another := fmt.Sprint("alice-", i), fmt.Sprint("clara-", i)
			got, want := b.ask(one, guessed, tt.body, tt.what), b.ask(another, "unknown-key", tt.body, tt.what)
			require.Equal(b, want.status, got.status, got.body)
			require.Equal(b, strings.ReplaceAll(fmt.Sprint(want.header), another, one), fmt.Sprint(got.header))
			if tt.what != "" { // the others have a number
				require.Equal(b, want.body, got.body)
			}
		}
	})
}

func aGuessedKeyWorksAsAnyOther(w *world) {
	w.inEachState(func(b *bank) {
		for _, body := range []string{"other", "{}"} {
			victim := "victim with " + body
			first := b.ask(victim, guessed, body, "")
			require.Equal(b, http.StatusCreated, first.status, first.body)
			require.Empty(b, first.header.Values("Idempotent-Replayed"))
			require.Contains(b, first.body, " of "+victim)
			b.ask(victim, guessed, body, "").replays(first)
			b.ask(victim, guessed, body+"!", "").problem(idempotency.CodeKeyReused) // by the victim's own other request
		}
		if b.pool != nil {
			var scopes []string
			require.NoError(b, b.pool.QueryRow(b.Context(),
				`SELECT array_agg(scope ORDER BY scope) FROM idempotency_keys WHERE key = $1 AND scope <> 'mallory'`, guessed).Scan(&scopes))
			require.Equal(b, []string{"victim with other", "victim with {}"}, scopes)
		}
	})
}

// lookalikes are pairs of scope and key that only their bytes tell apart.
var lookalikes = [][2]string{
	{"a", "bc"}, {"ab", "c"}, {"c", "ab"}, {"bc", "a"}, {"abc", "abc"},
	{"A", "bc"}, {"a", "BC"}, {"a", "Bc"},
	{"a", "b:c"}, {"a:b", "c"}, {"a", "b/c"}, {"a/b", "c"}, {"a", "b|c"}, {"a|b", "c"}, {"a", "b,c"}, {"a,b", "c"}, {`a`, `b\c`}, {`a\b`, `c`},
	{"a", `b","c`}, {`a","b`, "c"}, {"a", "b' OR scope='A"}, {"a", "%"}, {"a", "_"}, {"%", "bc"},
	{"a ", "bc"}, {" a", "bc"}, {"a", "bc "}, {"a", " bc"}, {"a\u00a0", "bc"}, {"a", "bc\u00a0"}, {"a", "b\u200bc"}, {"a", "\ufeffbc"},
	{"caf\u00e9", "k"}, {"cafe\u0301", "k"}, {"k", "caf\u00e9"}, {"k", "cafe\u0301"}, {"k", "cafe"}, // composed, decomposed
	{"k", "\uff42\uff43"}, {"k", "bc"}, {"k", "ß"}, {"k", "ss"}, {"k", "SS"}, {"k", "ı"}, {"k", "i"}, {"k", "I"}, {"k", "İ"},
	{"k", "\u212a"}, {"k", "k"}, {"k", "K"}, {"k", "а"}, {"k", "a"}, // the Kelvin sign; the Cyrillic letter
	{"k", "01"}, {"k", "1"}, {"k", "1.0"}, {"k", "1e0"}, {"k", "null"}, {"k", `\000`}, {"k", `\x61`}, {"k", "%61"},
	{idempotency.SharedScope, "bc"},
}

func namesThatLookAlikeAreDifferentKeys(w *world) {
	var runs atomic.Int64
	var pair [2]string
	route := w.route(func(writer http.ResponseWriter, r *http.Request) {
		w.effect(r.Context())
		_, _ = fmt.Fprint(writer, "run ", runs.Add(1))
	}, func(_ *idempotency.Config, c *Config) {
		c.Scope = func(*http.Request) (string, error) { return pair[0], nil }
		c.Key = func(*http.Request, []byte) (string, error) { return pair[1], nil }
	})
	var first []answer
	for _, pair = range lookalikes {
		got := route.post("", "{}")
		require.Equal(w, http.StatusOK, got.status, "%q: %s", pair, got.body)
		require.Empty(w, got.header.Values("Idempotent-Replayed"), "%q", pair)
		first = append(first, got)
	}
	for i := range lookalikes {
		pair = lookalikes[i]
		route.post("", "{}").replays(first[i])
	}
	route.ran(len(lookalikes))
	w.hasEffects(len(lookalikes))
	w.hasRecords(len(lookalikes))
}

// What Postgres would cut short, or not take at all, and what ends a name for whoever reads it.
func aNameThatCouldBeTakenForAnotherIsRefused(w *world) {
	var pair [2]string
	route := w.route(w.pays(http.StatusCreated), func(_ *idempotency.Config, c *Config) {
		c.Scope = func(*http.Request) (string, error) { return pair[0], nil }
		c.Key = func(*http.Request, []byte) (string, error) { return pair[1], nil }
	})
	for _, bad := range []string{"a\x00", "a\x00b", "\x00", "a\n", "a\r\nb", "a\tb", "a\x7f", "a\u0085", "a\xff", "\xed\xa0\x80", "a\xc3", " ", "\u00a0", strings.Repeat("a", 256)} {
		pair = [2]string{bad, "a"}
		route.post("", "{}").problem(idempotency.CodeScopeMissing)
		pair = [2]string{"a", bad}
		route.post("", "{}").problem(idempotency.CodeKeyInvalid)
	}
	route.ran(0)
	w.hasRecords(0)
}
