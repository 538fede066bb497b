package stack

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/nethttp"
	"github.com/onlyonce/onlyonce/pgstore"
	"github.com/onlyonce/onlyonce/sqlstore"
)

// tables are the payments'. Each row says which key it was written for, and nothing keeps it from being written twice.
const tables = `
	CREATE TABLE accounts (name text PRIMARY KEY, available bigint NOT NULL);
	CREATE TABLE payments (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account text NOT NULL, amount bigint NOT NULL, key text NOT NULL);
	CREATE TABLE ledger (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, payment bigint NOT NULL, account text NOT NULL, amount bigint NOT NULL, key text NOT NULL);`

// amount is what every payment is about, and opening what every account begins with.
const (
	amount  = 100
	opening = 1_000_000
)

// accountOf is the scope. A real service takes it from what authenticates the caller.
func accountOf(r *http.Request) (string, error) { return r.Header.Get("Account"), nil }

// routes are the handlers, each behind the middleware.
func (s settings) routes(engine *idempotency.Engine) (http.Handler, error) {
	protect, err := nethttp.Middleware(engine, nethttp.Config{
		Scope:   accountOf,
		Methods: []string{http.MethodPost, http.MethodHead},
	})
	if err != nil {
		return nil, err
	}
	mux, handlers := http.NewServeMux(), handlers(s.pays())
	for path, handler := range handlers {
		mux.Handle(path, protect(handler))
	}
	mux.Handle("POST /nested", protect(protect(handlers["POST /payments"])))
	return mux, nil
}

// paying makes a payment in the handler's transaction.
type paying func(r *http.Request) (payment, error)

func (s settings) pays() paying {
	if s.Driver != "" {
		return func(r *http.Request) (payment, error) { return payBySQL(r.Context(), sqlstore.Tx(r.Context()), r) }
	}
	return func(r *http.Request) (payment, error) { return pay(r.Context(), pgstore.Tx(r.Context()), r) }
}

func handlers(pay paying) map[string]http.HandlerFunc {
	handlers := maps.Clone(ending)
	for path, answer := range answers {
		handlers[path] = afterPaying(pay, answer)
	}
	handlers["POST /payments"] = func(w http.ResponseWriter, r *http.Request) {
		payment, err := pay(r)
		if err != nil {
			nethttp.WriteProblem(w, idempotency.ErrStoreUnavailable.Because(err))
			return
		}
		w.Header().Set("Location", fmt.Sprintf("/payments/%d", payment.ID))
		answer(w, http.StatusCreated, payment)
	}
	return handlers
}

// answers are those of handlers that pay and then answer otherwise.
var answers = map[string]func(w http.ResponseWriter){
	"POST /refused":  func(w http.ResponseWriter) { answer(w, http.StatusPaymentRequired, unlike()) },
	"POST /fails":    func(w http.ResponseWriter) { answer(w, http.StatusInternalServerError, unlike()) },
	"POST /busy":     func(w http.ResponseWriter) { answer(w, http.StatusConflict, unlike()) },
	"POST /panics":   func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
	"POST /empty":    func(http.ResponseWriter) {},
	"POST /nothing":  func(w http.ResponseWriter) { w.WriteHeader(http.StatusNoContent) },
	"POST /fits":     func(w http.ResponseWriter) { fmt.Fprint(w, strings.Repeat("x", maxResponse)) },
	"POST /oversize": func(w http.ResponseWriter) { fmt.Fprint(w, strings.Repeat("x", maxResponse+1)) },
	"POST /streams":  stream,
	"HEAD /payments": func(w http.ResponseWriter) { answer(w, http.StatusOK, unlike()) },
}

// ending are handlers that end their transaction themselves, or leave it failed.
var ending = map[string]http.HandlerFunc{
	"POST /swallows": func(w http.ResponseWriter, r *http.Request) {
		tx := pgstore.Tx(r.Context())
		payment, err := pay(r.Context(), tx, r)
		if err == nil {
			_, err = tx.Exec(r.Context(), "SELECT 1/0")
		}
		_ = err // for shame
		answer(w, http.StatusCreated, payment)
	},
	"POST /commits": func(w http.ResponseWriter, r *http.Request) {
		tx := pgstore.Tx(r.Context())
		payment, err := pay(r.Context(), tx, r)
		if err == nil {
			_, err = tx.Exec(r.Context(), "COMMIT")
		}
		if err != nil {
			nethttp.WriteProblem(w, idempotency.ErrStoreUnavailable.Because(err))
			return
		}
		answer(w, http.StatusCreated, payment)
	},
}

// afterPaying pays and then answers otherwise.
func afterPaying(pay paying, answer func(w http.ResponseWriter)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if _, err := pay(r); err != nil {
			nethttp.WriteProblem(w, idempotency.ErrStoreUnavailable.Because(err))
			return
		}
		answer(w)
	}
}

// stream does what a handler does that has never heard of buffering.
func stream(w http.ResponseWriter) {
	for i := range 20 {
		fmt.Fprintf(w, "%d %s\n", i, rand.Text())
		if err := http.NewResponseController(w).Flush(); err == nil {
			fmt.Fprintln(w, "flushed!")
		}
		if _, _, err := http.NewResponseController(w).Hijack(); err == nil {
			fmt.Fprintln(w, "hijacked!")
		}
	}
}

// payment is what is answered. No two executions answer the same bytes.
type payment struct {
	ID     int64  `json:"id"`
	Amount int64  `json:"amount"`
	Nonce  string `json:"nonce"`
}

func unlike() payment { return payment{Nonce: rand.Text()} }

// pay moves the money: an UPDATE, an INSERT, and a batch of two more. key is what the rows are counted by.
func pay(ctx context.Context, tx pgx.Tx, r *http.Request) (payment, error) {
	account, key := r.Header.Get("Account"), r.Header.Get("Idempotency-Key")
	made := unlike()
	made.Amount = amount
	if _, err := tx.Exec(ctx, "UPDATE accounts SET available = available - $1 WHERE name = $2", amount, account); err != nil {
		return payment{}, err
	}
	err := tx.QueryRow(ctx, "INSERT INTO payments (account, amount, key) VALUES ($1, $2, $3) RETURNING id", account, amount, key).Scan(&made.ID)
	if err != nil {
		return payment{}, err
	}
	batch := &pgx.Batch{}
	const entry = "INSERT INTO ledger (payment, account, amount, key) VALUES ($1, $2, $3, $4)"
	batch.Queue(entry, made.ID, account, -amount, key)
	batch.Queue(entry, made.ID, "merchant", amount, key)
	return made, tx.SendBatch(ctx, batch).Close()
}

func answer(w http.ResponseWriter, status int, body payment) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
