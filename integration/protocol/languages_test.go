package protocol

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/pgstore"
)

// language is an example that pays in one: a command to which URL, account, amount and keys are added.
type language struct {
	command []string
	client  []string // exits with 0 where the client for PostgreSQL is there
	needs   string   // the Debian packages
}

// languages are by the ending of their examples' names. Debian's interpreters have its packages; another one that is before them in PATH has not.
var languages = map[string]language{
	"py":  {[]string{"/usr/bin/python3"}, []string{"-c", "import psycopg"}, "python3-psycopg"},
	"php": {[]string{"php"}, []string{"-r", "exit(function_exists('pg_connect') ? 0 : 1);"}, "php-cli php-pgsql"},
	"rb":  {[]string{"ruby"}, []string{"-e", `require "pg"`}, "ruby-pg"},
}

func (l language) orSkip(t *testing.T) {
	t.Helper()
	check := exec.CommandContext(t.Context(), l.command[0], append(l.command[1:], l.client...)...)
	if said, err := check.CombinedOutput(); err != nil {
		t.Skipf("the client is not there (Debian: apt-get install %s): %v %s", l.needs, err, said)
	}
}

// paysBy runs the example of this name, and returns what it prints.
func (w *world) paysBy(ctx context.Context, ending string, keys []string) (string, error) {
	url := pgtest.SchemaURL(w.t, w.schema)
	url = strings.Replace(url, "search_path="+w.schema, "options=-csearch_path%3D"+w.schema+"&application_name="+w.schema, 1) // as libpq has it
	args := append([]string{"../../examples/languages/pay." + ending, url, "alice", "10"}, keys...)
	name := "psql"
	if l, ok := languages[ending]; ok {
		name = l.command[0]
	} else {
		args = []string{url, "-X", "-q", "-f", args[0], "-v", "account=alice", "-v", "amount=10", "-v", "key=" + keys[0]}
	}
	said, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", ending, err, said)
	}
	return string(said), nil
}

// paysByGo is the example in Go.
func (w *world) paysByGo(ctx context.Context, keys []string) (string, error) {
	var said strings.Builder
	print := (&idempotency.Fingerprinter{}).Sum([]byte(`{"amount": 10}`), "POST", "/payments", "/payments", "", "application/json")
	for k := 0; k < len(keys); {
		result, err := w.engine.Run(ctx, idempotency.Request{Key: idempotency.Key{Scope: "alice", Value: keys[k]}, Fingerprint: print},
			func(ctx context.Context) (idempotency.Response, error) {
				var id int
				err := pgstore.Tx(ctx).QueryRow(ctx, `INSERT INTO payments (account, amount) VALUES ('alice', 10) RETURNING id`).Scan(&id)
				return idempotency.Response{Status: 201, Header: []byte("Content-Type: application/json\r\n"), Body: fmt.Appendf(nil, `{"payment": %d}`, id)}, err
			})
		switch {
		case err == nil:
			fmt.Fprintf(&said, "%s %d %s\n", keys[k], result.Response.Status, result.Response.Body)
			k++
		case ctx.Err() != nil:
			return "", err
		}
	}
	return said.String(), nil
}

func newPayments(t *testing.T, keys int) (*world, []string) {
	t.Helper()
	w := newWorld(t)
	table, err := os.ReadFile("../../examples/languages/schema.sql")
	require.NoError(t, err)
	w.exec(string(table))
	var names []string
	for n := range keys {
		names = append(names, fmt.Sprint(w.schema, "-", n))
	}
	return w, names
}

func TestTwoLanguagesAtATimePayOnceForEachKey(t *testing.T) {
	t.Parallel()
	for _, pair := range [][2]string{{"py", "php"}, {"py", "py"}, {"php", "rb"}, {"rb", "py"}, {"py", "go"}, {"php", "go"}, {"rb", "go"}} {
		t.Run(pair[0]+" and "+pair[1], func(t *testing.T) {
			t.Parallel()
			for _, ending := range pair {
				if l, ok := languages[ending]; ok {
					l.orSkip(t)
				}
			}
			w, keys := newPayments(t, 60)
			pays := func(ctx context.Context, ending string, keys []string) (string, error) {
				if ending == "go" {
					return w.paysByGo(ctx, keys)
				}
				return w.paysBy(ctx, ending, keys)
			}
			const alone = 5 // keys that each has to itself, so that none does nothing but replay
			var first string
			for i, ending := range pair {
				answers, err := pays(t.Context(), ending, keys[i*alone:(i+1)*alone])
				require.NoError(t, err)
				first += answers
			}
			w.key.Value = keys[len(pair)*alone] // where they wait for each other
			gate := w.tx()
			w.wantBegun(gate)
			var said [2]string
			group, ctx := errgroup.WithContext(t.Context())
			waiting := 0
			for i, ending := range pair {
				if ending != "go" {
					waiting++
				}
				group.Go(func() (err error) {
					said[i], err = pays(ctx, ending, keys)
					return err
				})
			}
			require.Eventually(t, func() bool {
				return ctx.Err() != nil || waiting == w.count(`SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND query = 'ROLLBACK'`, w.schema)
			}, soon, 5*time.Millisecond)
			w.rollback(gate)
			require.NoError(t, group.Wait())
			require.Equal(t, said[0], said[1], "both have the same responses")
			require.True(t, strings.HasPrefix(said[0], first), "and what each has paid by itself stands")
			require.Equal(t, len(keys), strings.Count(said[0], ` 201 {"payment": `))
			require.Equal(t, len(keys), w.count(`SELECT count(*) FROM payments`))
		})
	}
}

func TestThePsqlScriptPaysOnceBesideGoAndItself(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("psql"); err != nil {
		t.Skip("psql is not there (Debian: apt-get install postgresql-client): ", err)
	}
	w, keys := newPayments(t, 5)
	w.key.Value = keys[0]
	gate := w.tx()
	w.wantBegun(gate)
	answer, err := w.paysBy(t.Context(), "sql", keys[:1])
	require.NoError(t, err)
	require.Equal(t, keys[0]+" in_progress\n", answer)
	w.rollback(gate)
	answer, err = w.paysBy(t.Context(), "sql", keys[:1]) // nobody is beside it, so this one pays
	require.NoError(t, err)
	require.Equal(t, keys[0]+" 201 {\"payment\": 1}\n", answer)
	for _, key := range keys {
		group, ctx := errgroup.WithContext(t.Context())
		var said [3]string
		for i := range said {
			group.Go(func() (err error) {
				for said[i] == "" || said[i] == key+" in_progress\n" {
					if i == 0 {
						said[i], err = w.paysByGo(ctx, []string{key})
					} else {
						said[i], err = w.paysBy(ctx, "sql", []string{key})
					}
					if err != nil && !strings.Contains(err.Error(), "duplicate key") {
						return err
					}
				}
				return nil
			})
		}
		require.NoError(t, group.Wait())
		require.Contains(t, said[0], key+` 201 {"payment": `)
		require.Equal(t, said[0], said[1])
		require.Equal(t, said[0], said[2])
	}
	require.Equal(t, len(keys), w.count(`SELECT count(*) FROM payments`))
}
