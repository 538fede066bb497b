package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/nethttp"

	"github.com/onlyonce/onlyonce/integration/torture/protocol"
)

// service is what the handlers work with.
type service struct {
	pool     *pgxpool.Pool // for reading
	provider string
	voice    *voice
}

// routes are the handlers, behind the middleware.
func routes(s *service, engine *idempotency.Engine, unprotected bool) (http.Handler, error) {
	config := nethttp.Config{Scope: func(r *http.Request) (string, error) { return r.Header.Get(protocol.AccountHeader), nil }}
	card := s.charge
	if unprotected { // no request has such a header, so that each is a new one; and without a key there are no recovery points
		config.Headers, config.Optional = []string{"No-Such-Header"}, true
		card = s.pay
	}
	protect, err := nethttp.Middleware(engine, config)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("POST /payment", protect(s.told(s.pay)))
	mux.Handle("POST /refusal", protect(s.told(s.refuse)))
	mux.Handle("POST /card", protect(s.told(card)))
	mux.HandleFunc("GET /payments/{key}", s.count)
	return mux, nil
}

// order is a request, and who writes its rows.
type order struct {
	protocol.Order
	attempt, nonce string
}

func (o order) receipt() protocol.Receipt {
	return protocol.Receipt{Amount: o.Amount, Nonce: o.nonce, Attempt: o.attempt}
}

// told tells of each run of a handler before and after it.
func (s *service) told(handle func(http.ResponseWriter, *http.Request, order)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		asked := order{attempt: r.Header.Get(protocol.AttemptHeader), nonce: rand.Text()[:16]}
		_, completer := idempotency.Resuming(r.Context())
		if completer {
			asked.attempt += "-" + asked.nonce
		}
		if err := json.NewDecoder(r.Body).Decode(&asked.Order); err != nil {
			nethttp.WriteProblem(w, idempotency.ErrRequestUnreadable.Because(err))
			return
		}
		s.voice.say(protocol.Said{Begun: &protocol.Begun{Nonce: asked.nonce, Key: asked.Reference, Attempt: asked.attempt, Completer: completer}})
		handle(w, r, asked)
		s.voice.say(protocol.Said{Ended: asked.nonce})
	}
}

// fail answers that the database failed, whose doing nothing is.
func (s *service) fail(w http.ResponseWriter, err error) {
	s.voice.failed(err)
	nethttp.WriteProblem(w, idempotency.ErrStoreUnavailable.Because(err))
}

// count answers how many payments a key has.
func (s *service) count(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	var found protocol.Count
	err := s.pool.QueryRow(ctx, "SELECT count(*) FROM payments WHERE key = $1", r.PathValue("key")).Scan(&found.Payments)
	if err != nil {
		s.fail(w, err)
		return
	}
	answer(w, http.StatusOK, found)
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
