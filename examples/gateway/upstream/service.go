// Package upstream is a payments service that knows nothing of idempotency keys, and misbehaves: it pays once for each request that it gets, and
// then answers, or fails, hangs, cuts its answer short, or dies.
package upstream

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// Fate is what becomes of a request.
type Fate string

// The fates. All from FailAfter on have paid before anything goes wrong.
const (
	Answer    Fate = "answer"     // it pays, and answers 201
	Decline   Fate = "decline"    // it pays nothing, and answers 402
	Fail      Fate = "fail"       // it pays nothing, and answers 500
	FailAfter Fate = "fail-after" // it answers 500
	Hang      Fate = "hang"       // it does not answer until the caller gives up
	Cut       Fate = "cut"        // it sends half of its answer
	Die       Fate = "die"        // its process ends
)

// Header is the request header that chooses a fate. It is no part of what a gateway tells requests apart by, so that the retry of a request may
// meet another one.
const Header = "Fate"

// Tempers are what services are like that are not told: what they do in turn.
var Tempers = map[string][]Fate{
	"steady": {Answer},
	"moody":  {Fail, Answer},
	"rotten": {Hang, Answer, Cut, Answer, Die, Answer},
}

// patience is how long a hanging request is kept at most.
const patience = time.Minute

// Service is a payments service.
type Service struct {
	ledger *Ledger
	turns  []Fate
	die    func()
	count  atomic.Uint64
}

// New returns a Service on ledger that does in turn what turns say. die ends its process.
func New(ledger *Ledger, turns []Fate, die func()) (*Service, error) {
	if len(turns) == 0 || die == nil {
		return nil, errors.New("upstream: New needs at least one fate, and a way to die: pass Tempers[\"steady\"] and os.Exit")
	}
	return &Service{ledger: ledger, turns: turns, die: die}, nil
}

// Handler serves POST /payments and GET /payments, also below any name.
func (s *Service) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, below := range []string{"", "/{name}"} {
		mux.HandleFunc("POST "+below+"/payments", s.pay)
		mux.HandleFunc("GET "+below+"/payments", s.list)
	}
	return mux
}

func (s *Service) list(w http.ResponseWriter, _ *http.Request) {
	payments, err := s.ledger.Payments()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer(w, http.StatusOK, payments)
}

func (s *Service) pay(w http.ResponseWriter, r *http.Request) {
	var order struct {
		Reference string `json:"reference"`
		Amount    int64  `json:"amount"`
	}
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<16)).Decode(&order); err != nil || order.Reference == "" || order.Amount <= 0 {
		http.Error(w, `send {"reference": "order-1", "amount": 100}`, http.StatusBadRequest)
		return
	}
	fate := Fate(r.Header.Get(Header))
	if fate == "" {
		fate = s.turns[(s.count.Add(1)-1)%uint64(len(s.turns))]
	}
	switch fate {
	case Decline:
		answer(w, http.StatusPaymentRequired, map[string]string{"error": "the card was declined"})
		return
	case Fail:
		http.Error(w, "out of order, nothing was paid", http.StatusInternalServerError)
		return
	}
	payment, err := s.ledger.Pay(order.Reference, order.Amount)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	switch fate {
	case FailAfter:
		http.Error(w, "out of order, and yet it was paid", http.StatusInternalServerError)
	case Hang:
		select {
		case <-r.Context().Done():
		case <-time.After(patience):
		}
		panic(http.ErrAbortHandler)
	case Cut:
		w.Header().Set("Content-Length", "1000")
		answer(w, http.StatusCreated, payment)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case Die:
		s.die()
	default:
		w.Header().Set("Location", "/payments/"+payment.ID)
		answer(w, http.StatusCreated, payment)
	}
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the caller may be gone
}
