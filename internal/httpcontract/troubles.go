package httpcontract

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

var troubleTests = []test{
	{"without its store nothing is done", withoutItsStoreNothingIsDone},
	{"a protected handler inside another one is refused", aProtectedHandlerInsideAnotherIsRefused},
	{"a damaged record is no answer and no second run", aDamagedRecordIsNoAnswer},
	{"a damaged row is no answer and no second run", aDamagedRowIsNoAnswer},
	{"a broken transaction is no success", aBrokenTransactionIsNoSuccess},
	{"a key is told to nobody", aKeyIsToldToNobody},
}

// down is a store that cannot be reached.
type down struct{ idempotency.Store }

var errDown = idempotency.ErrStoreUnavailable.Because(errors.New("password of the database"))

func (down) Claim(context.Context, idempotency.Key) (idempotency.Attempt, *idempotency.Record, error) {
	return nil, nil, errDown
}
func (down) Lookup(context.Context, idempotency.Key) (*idempotency.Record, error) {
	return nil, errDown
}
func (down) Begin(context.Context) (idempotency.Attempt, error) { return nil, errDown }

func withoutItsStoreNothingIsDone(w *world) {
	optional := func(_ *idempotency.Config, c *Config) { c.Optional = true }
	unreachable := *w
	unreachable.store = down{w.store}
	broken := unreachable.route(w.pays(http.StatusCreated), optional)
	known := w.route(w.pays(http.StatusCreated), optional)
	known.post("known", "{}").is(http.StatusCreated, `{"status":"answered"}`)
	known.ran(1)
	routes := []*route{broken}
	if w.pool != nil {
		w.pool.Close()
		routes = append(routes, known)
	}
	for _, route := range routes {
		for _, key := range []string{"known", "new", ""} {
			for range 2 {
				got := route.post(key, "{}")
				got.problem(idempotency.CodeStoreUnavailable)
				require.NotContains(w, got.body, "password")
				require.NotContains(w, got.body, "closed pool")
			}
		}
		route.ran(0)
	}
}

func aProtectedHandlerInsideAnotherIsRefused(w *world) {
	inner := w.route(w.pays(http.StatusCreated), func(_ *idempotency.Config, c *Config) { c.Optional = true })
	outer := w.route(func(writer http.ResponseWriter, r *http.Request) {
		for _, key := range []string{"k", "another-key", ""} {
			serve(w, inner, post(key, "{}").WithContext(r.Context())).problem(idempotency.CodeNested)
		}
		inner.ServeHTTP(writer, r)
	})
	outer.post("k", "{}").problem(idempotency.CodeNested)
	inner.ran(0)
	w.hasRecords(0)
	inner.post("k", "{}").is(http.StatusCreated, `{"status":"answered"}`)
}

func aDamagedRecordIsNoAnswer(w *world) {
	for name, response := range map[string]idempotency.Response{
		"no status":                {Status: 0},
		"an informational status":  {Status: 103},
		"a status that is none":    {Status: 600},
		"a negative status":        {Status: -200},
		"a header without an end":  {Status: 200, Header: []byte("Etag: x")},
		"a header without a value": {Status: 200, Header: []byte("Etag\r\n")},
		"a header without a name":  {Status: 200, Header: []byte(": x\r\n")},
		"a bad name":               {Status: 200, Header: []byte("E tag: x\r\n")},
		"a name in small letters":  {Status: 200, Header: []byte("etag: x\r\n")},
		"a line feed":              {Status: 200, Header: []byte("Etag: x\nSet-Cookie: a=b\r\n")},
		"a carriage return":        {Status: 200, Header: []byte("Etag: x\rSet-Cookie: a=b\r\n")},
		"an empty line":            {Status: 200, Header: []byte("Etag: x\r\n\r\n<script>\r\n")},
		"NUL":                      {Status: 200, Header: []byte("Etag: \x00\r\n")},
		"a cookie":                 {Status: 200, Header: []byte("Etag: x\r\nSet-Cookie: a=b\r\n")},
		"a length":                 {Status: 200, Header: []byte("Content-Length: 5\r\n")},
		"an encoding":              {Status: 200, Header: []byte("Transfer-Encoding: chunked\r\n")},
	} {
		w.each(name, func(w *world) {
			key := w.key()
			route := w.route(w.pays(http.StatusCreated))
			route.post(key, "{}").is(http.StatusCreated, `{"status":"answered"}`)
			route.ran(1)
			response.Body = []byte("stored")
			w.damage(key, response)
			w.unreadable(route, key)
		})
	}
}

// unreadable checks that key is not answered, neither where it is remembered nor elsewhere.
func (w *world) unreadable(route *route, key string) {
	w.Helper()
	elsewhere := w.route(w.pays(http.StatusCreated))
	for range 2 {
		for _, at := range []http.Handler{route, elsewhere} {
			got := serve(w, at, post(key, "{}"))
			got.problem(idempotency.CodeRecordUnreadable)
			require.Len(w, got.header, 1, "headers of a damaged record were sent")
		}
	}
	route.ran(0)
	elsewhere.ran(0)
}

// damage replaces the response that is stored for key.
func (w *world) damage(key string, response idempotency.Response) {
	w.Helper()
	if w.pool != nil {
		tag, err := w.pool.Exec(w.Context(), `UPDATE idempotency_keys SET status = $2, headers = $3, body = $4 WHERE key = $1`,
			key, response.Status, response.Header, response.Body)
		require.NoError(w, err)
		require.EqualValues(w, 1, tag.RowsAffected())
		return
	}
	w.store.(Damageable).Damage(idempotency.Key{Scope: "alice", Value: key}, response)
}

func aDamagedRowIsNoAnswer(w *world) {
	if w.pool == nil {
		return // there are no rows
	}
	for name, set := range map[string]string{
		"a fingerprint that is too short": `fingerprint = substr(fingerprint, 1, 32)`,
		"a fingerprint that is too long":  `fingerprint = fingerprint || '\x00'`,
		"no fingerprint":                  `fingerprint = ''`,
		"an unknown state":                `state = 'archived'`,
		"a pending state":                 `state = 'pending', expires_at = NULL`,
		"no status":                       `status = NULL`,
	} {
		w.each(name, func(w *world) {
			key := w.key()
			route := w.route(w.pays(http.StatusCreated))
			route.post(key, "{}").is(http.StatusCreated, `{"status":"answered"}`)
			route.ran(1)
			tag, err := w.pool.Exec(w.Context(), `UPDATE idempotency_keys SET `+set+` WHERE key = $1`, key)
			require.NoError(w, err)
			require.EqualValues(w, 1, tag.RowsAffected())
			w.unreadable(route, key)
		})
	}

	// Not damaged, but of an unknown recipe: it cannot be told that the request is the same one. A sealed row has to be damaged then.
	want := idempotency.CodeKeyReused
	if w.sealed() {
		want = idempotency.CodeRecordUnreadable
	}
	route := w.route(w.pays(http.StatusCreated))
	route.post("k", "{}").is(http.StatusCreated, `{"status":"answered"}`)
	_, err := w.pool.Exec(w.Context(), `UPDATE idempotency_keys SET fingerprint = set_byte(fingerprint, 0, 255) WHERE key = 'k'`)
	require.NoError(w, err)
	route.post("k", "{}").problem(want)
	route.ran(1)
}

func aBrokenTransactionIsNoSuccess(w *world) {
	if w.pool == nil {
		return // there is none
	}
	for _, tt := range []struct {
		name, sql string
		code      idempotency.Code
	}{
		{"a statement failed", `SELECT 1 / 0`, idempotency.CodeTransactionAborted},
		{"it was ended", `ROLLBACK`, idempotency.CodeTransactionEnded},
		{"it got in another one's way", `DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40001'; END $$`, idempotency.CodeTransactionConflict},
	} {
		w.each(tt.name, func(w *world) {
			route := w.route(func(writer http.ResponseWriter, r *http.Request) {
				w.effect(r.Context())
				w.sql(r.Context(), tt.sql)
				writer.Header().Set("Location", "/payments/1")
				writer.WriteHeader(http.StatusCreated)
			})
			got := route.post("k", "{}")
			got.problem(tt.code)
			require.Empty(w, got.header.Get("Location"))
			route.ran(1)
			w.hasEffects(0)
			w.hasRecords(0)
		})
	}
}

// text is what was logged.
type text struct {
	mu sync.Mutex
	bytes.Buffer
}

func (t *text) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.Buffer.Write(b)
}

func aKeyIsToldToNobody(w *world) {
	const secret = "secret-4f6b"
	var logged text
	logger := slog.New(slog.NewJSONHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	logging := func(e *idempotency.Config, c *Config) {
		e.Observer = idempotency.LogObserver(logger)
		e.MaxResponseBytes = 100
		c.MaxRequestBytes = 100
		c.Validate = w.adapter.MinLength(len(secret))
	}
	status := http.StatusCreated
	route := w.route(func(writer http.ResponseWriter, r *http.Request) {
		if status == 0 {
			panic("broken")
		}
		w.pays(status)(writer, r)
		if r.Header.Get("Much") != "" {
			_, _ = writer.Write(make([]byte, 101))
		}
	}, logging)
	var answers []answer
	for _, key := range []string{secret, `"` + secret + `"`, secret + ",b", `"` + secret, secret[:10], secret + "\xff", secret + strings.Repeat("k", 255)} {
		answers = append(answers, route.post(key, "{}"), route.post(key, "other"), route.post(key, strings.Repeat("x", 101)))
	}
	for i, then := range []int{402, 500, 0} {
		status = then
		key := strings.Repeat(secret, i+2)
		if then == 0 {
			assert.Panics(w, func() { route.post(key, "{}") })
			continue
		}
		much := post(key+"much", "{}")
		much.Header.Set("Much", "yes")
		answers = append(answers, route.post(key, "{}"), route.post(key, "{}"), route.send(much))
	}
	unreachable := *w
	unreachable.store = down{w.store}
	answers = append(answers, unreachable.route(w.pays(http.StatusCreated), logging).post(secret, "{}"))
	busy, finish := w.running(secret+"busy", logging)
	answers = append(answers, busy.post(secret+"busy", "{}"), finish())
	if w.pool != nil {
		_, err := w.pool.Exec(w.Context(), `UPDATE idempotency_keys SET state = key`)
		require.NoError(w, err)
		status = http.StatusCreated
		answers = append(answers, route.post(secret, "{}"))
	}

	for _, got := range answers {
		require.NotContains(w, got.body, secret[:10])
		for name, values := range got.header {
			require.NotContains(w, strings.Join(values, " "), secret[:10], name)
		}
	}
	for _, kind := range []string{"claimed", "completed", "replayed", "reused", "refused", "released", "conflicted", "failed"} {
		require.Contains(w, logged.String(), "idempotency: "+kind)
	}
	require.NotContains(w, logged.String(), secret[:10])
	require.NotContains(w, logged.String(), "password")
}
