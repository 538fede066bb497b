package sqlstore_test

import (
	"database/sql"
	"fmt"
	"log"
	"net/http"
	"os"

	_ "github.com/jackc/pgx/v5/stdlib" // or _ "github.com/lib/pq", and "postgres" below

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/nethttp"
	"github.com/onlyonce/onlyonce/sqlstore"
)

func Example() {
	db, err := sql.Open("pgx", os.Getenv("DATABASE_URL")+"?idle_in_transaction_session_timeout=10s")
	if err != nil {
		log.Fatal(err)
	}
	engine, err := idempotency.New(sqlstore.New(db), idempotency.Config{})
	if err != nil {
		log.Fatal(err)
	}
	protect, err := nethttp.Middleware(engine, nethttp.Config{Scope: func(r *http.Request) (string, error) { return r.Header.Get("Account"), nil }})
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("POST /payments", protect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tx := sqlstore.Tx(r.Context()) // a real *sql.Tx: what is written by it and the response are one commit
		var id int64
		if err := tx.QueryRowContext(r.Context(), `INSERT INTO payments (cents) VALUES (99) RETURNING id`).Scan(&id); err != nil {
			http.Error(w, "the payment could not be made", http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprintf(w, `{"id": %d}`, id)
	})))
	log.Fatal(http.ListenAndServe(":8080", nil))
}
