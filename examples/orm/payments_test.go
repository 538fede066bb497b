package orm_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/examples/orm/withbun"
	"github.com/onlyonce/onlyonce/examples/orm/withent"
	"github.com/onlyonce/onlyonce/examples/orm/withgorm"
	"github.com/onlyonce/onlyonce/examples/orm/withsqlc"
	"github.com/onlyonce/onlyonce/examples/orm/withsqlx"
	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/nethttp"
	"github.com/onlyonce/onlyonce/sqlstore"
)

// pay writes a payment in the transaction of the handler that ctx belongs to.
type pay func(ctx context.Context, account string, cents int64) (id int64, err error)

var orms = map[string]func(t *testing.T, db *sql.DB) pay{
	"sqlx": func(*testing.T, *sql.DB) pay { return withsqlx.Pay },
	"sqlc": func(*testing.T, *sql.DB) pay { return withsqlc.Pay },
	"GORM": func(t *testing.T, db *sql.DB) pay {
		payments, err := withgorm.New(db)
		require.NoError(t, err)
		return payments.Pay
	},
	"Bun": func(_ *testing.T, db *sql.DB) pay { return withbun.New(db).Pay },
	"ent": func(*testing.T, *sql.DB) pay { return withent.Pay },
}

// limit is what an account may pay. Who asks for more is told so after the payment was written: so it has to be rolled back.
const limit = 1000

func handler(pay pay) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var order struct{ Cents int64 }
		if err := json.NewDecoder(r.Body).Decode(&order); err != nil {
			http.Error(w, "an order is {\"cents\": …}", http.StatusBadRequest)
			return
		}
		id, err := pay(r.Context(), "alice", order.Cents)
		switch {
		case err != nil:
			http.Error(w, "the payment could not be made", http.StatusInternalServerError)
		case order.Cents > limit:
			http.Error(w, "too much", http.StatusPaymentRequired)
		default:
			w.WriteHeader(http.StatusCreated)
			_, _ = fmt.Fprintf(w, `{"id": %d}`, id)
		}
	}
}

func TestAPaymentOfEveryORMIsMadeOnceAndReplayed(t *testing.T) {
	t.Parallel()
	for name, open := range orms {
		for _, driver := range []string{"pgx", "postgres"} {
			t.Run(name+" on "+driver, func(t *testing.T) {
				t.Parallel()
				schema := pgtest.Schema(t)
				db, err := sql.Open(driver, in(t, schema))
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, db.Close()) })
				_, err = db.Exec(`CREATE TABLE payments (id bigserial PRIMARY KEY, account text NOT NULL, cents bigint NOT NULL)`)
				require.NoError(t, err)
				store, err := sqlstore.NewWithConfig(db, sqlstore.Config{Schema: schema}) // of several in this database
				require.NoError(t, err)
				engine, err := idempotency.New(store, idempotency.Config{})
				require.NoError(t, err)
				protect, err := nethttp.Middleware(engine, nethttp.Config{Scope: func(*http.Request) (string, error) { return "alice", nil }})
				require.NoError(t, err)
				api := protect(handler(open(t, db)))
				send := func(key, body string) *httptest.ResponseRecorder {
					r := httptest.NewRequest(http.MethodPost, "/payments", strings.NewReader(body))
					r.Header.Set("Idempotency-Key", key)
					w := httptest.NewRecorder()
					api.ServeHTTP(w, r)
					return w
				}
				payments := func() (n int) {
					require.NoError(t, db.QueryRow(`SELECT count(*) FROM payments`).Scan(&n))
					return n
				}

				first, again := send("one", `{"cents": 99}`), send("one", `{"cents": 99}`)
				require.Equal(t, http.StatusCreated, first.Code, first.Body.String())
				require.JSONEq(t, `{"id": 1}`, first.Body.String())
				require.Equal(t, first.Body.String(), again.Body.String())
				require.Equal(t, "true", again.Header().Get("Idempotent-Replayed"))
				require.Equal(t, 1, payments())

				refused, refusedAgain := send("two", `{"cents": 5000}`), send("two", `{"cents": 5000}`)
				require.Equal(t, http.StatusPaymentRequired, refused.Code, refused.Body.String())
				require.Equal(t, refused.Body.String(), refusedAgain.Body.String())
				require.Equal(t, "true", refusedAgain.Header().Get("Idempotent-Replayed"))
				require.Equal(t, 1, payments(), "what was refused is rolled back")
			})
		}
	}
}

// in is the URL of a schema.
func in(t *testing.T, schema string) string {
	u, err := url.Parse(pgtest.URL(t))
	require.NoError(t, err)
	query := u.Query()
	query.Set("search_path", schema)
	query.Set("sslmode", "disable")
	u.RawQuery = query.Encode()
	return u.String()
}
