// Package psp is a card payment provider on the other side of a network: a simulated one, which fails on demand, and the
// client that a service talks to it with. The provider has an idempotency of its own, and its list of charges is the oracle of
// "one charge".
package psp

import (
	"context"
	"net/http"
	"time"
)

// Stage is a point in the course of a request at which Config.At is called.
type Stage string

// The stages. A request that is answered from memory, or that fails before it charges, passes neither.
const (
	// BeforeCharge: the key is in progress and nothing is decided.
	BeforeCharge Stage = "before-charge"
	// AfterCharge: the charge, or the decline, is stored, and nothing is answered.
	AfterCharge Stage = "after-charge"
)

// Config is what can be set of a provider. The zero value works and fails only for cards that ask for it.
type Config struct {
	// Slow is how long a charge of tok_slow takes. Default 2 seconds.
	Slow time.Duration
	// MaxHang is how long a request of tok_hang is kept from a client that does not go away. Default 60 seconds.
	MaxHang time.Duration
	// FailureRate is the share, 0 to 1, of charges and of look-ups by key that fail whatever the card is: by a 500 or by
	// no reply, before or after the charge. The list of all charges never fails: it tells what really happened.
	FailureRate float64
	// Seed makes the failures of FailureRate the same in every run.
	Seed uint64
	// At is called at each stage in the goroutine of the request, with its context and its idempotency key. It holds no lock, so
	// that a test can stop there for as long as it likes; duplicates are answered 409 meanwhile.
	At func(ctx context.Context, stage Stage, key string)
}

// Server is the provider. It keeps everything in memory, and charges at most once per idempotency key.
type Server struct {
	config Config
	mux    *http.ServeMux
	book   *book
	luck   *luck
}

// NewServer returns a provider without charges.
func NewServer(config Config) *Server {
	if config.Slow <= 0 {
		config.Slow = 2 * time.Second
	}
	if config.MaxHang <= 0 {
		config.MaxHang = time.Minute
	}
	if config.At == nil {
		config.At = func(context.Context, Stage, string) {}
	}
	s := &Server{config: config, mux: http.NewServeMux(), book: newBook(), luck: newLuck(config.FailureRate, config.Seed)}
	s.mux.HandleFunc("POST /v1/charges", s.charge)
	s.mux.HandleFunc("GET /v1/charges", s.list)
	s.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		reply{status: http.StatusOK, body: map[string]string{"status": "ok"}}.send(w)
	})
	return s
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

func (s *Server) charge(w http.ResponseWriter, r *http.Request) {
	keys := r.Header.Values("Idempotency-Key")
	if len(keys) != 1 || !validKey(keys[0]) {
		refuse(http.StatusBadRequest, codeInvalidKey, detailInvalidKey).send(w)
		return
	}
	request, card, refusal := readRequest(w, r)
	if refusal != nil {
		refusal.send(w)
		return
	}
	// attempt has left the key when it returns: a client that has its reply can send the key again at once.
	s.attempt(r.Context(), keys[0], request, card).send(w)
}

func (s *Server) attempt(ctx context.Context, key string, request ChargeRequest, card card) reply {
	entry, refusal := s.book.enter(key, request)
	if refusal != nil {
		return *refusal
	}
	defer s.book.leave(entry)

	fault := card.faultOf(entry.attempts)
	if bad, isBad := s.luck.draw(); isBad {
		fault = bad
	}
	switch fault {
	case fail500Before:
		return failure
	case dropBefore:
		return noReply
	case hang:
		s.hang(ctx)
		return noReply
	}
	answer := s.settle(ctx, entry, card, fault)
	switch fault {
	case fail500After:
		return failure
	case dropAfter:
		return noReply
	}
	return answer
}

// settle returns the answer of the key, and makes it if there is none. A client that goes away does not stop it, as it does not
// stop a bank.
func (s *Server) settle(ctx context.Context, entry *entry, card card, fault fault) reply {
	if entry.answer != nil {
		return entry.answer.again()
	}
	if fault == slow {
		time.Sleep(s.config.Slow)
	}
	s.config.At(ctx, BeforeCharge, entry.key)
	answer := s.book.settle(entry, card.declines)
	s.config.At(ctx, AfterCharge, entry.key)
	return answer
}

// hang ends when the client goes away, which net/http notices because the body is read.
func (s *Server) hang(ctx context.Context) {
	bounded, cancel := context.WithTimeout(ctx, s.config.MaxHang)
	defer cancel()
	<-bounded.Done()
}

func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if !query.Has("idempotency_key") {
		reply{status: http.StatusOK, body: chargeList{s.book.all()}}.send(w)
		return
	}
	switch bad, isBad := s.luck.draw(); {
	case isBad && (bad == dropBefore || bad == dropAfter):
		noReply.send(w)
	case isBad:
		failure.send(w)
	default:
		reply{status: http.StatusOK, body: chargeList{s.book.of(query.Get("idempotency_key"))}}.send(w)
	}
}
