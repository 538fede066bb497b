package psp

import (
	"crypto/rand"
	"net/http"
	"slices"
	"sync"
)

// book is the provider's memory: what came with each key, what was answered, and every charge.
type book struct {
	mu      sync.Mutex
	entries map[string]*entry
	charges []RecordedCharge // in the order in which they were made
}

// entry is one key. From enter to leave it belongs to one request alone.
type entry struct {
	key      string
	request  ChargeRequest
	running  bool
	attempts int
	answer   *reply // nil until the charge is made or declined
}

func newBook() *book { return &book{entries: map[string]*entry{}} }

// enter gives the key to this request, or says why it cannot have it. Whoever gets it must leave.
func (b *book) enter(key string, request ChargeRequest) (*entry, *reply) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, known := b.entries[key]
	if !known {
		e = &entry{key: key, request: request}
		b.entries[key] = e
	}
	switch {
	case e.request != request:
		return nil, refuse(http.StatusUnprocessableEntity, codeKeyReused,
			"This Idempotency-Key came with another request. Send a new charge with a new key.")
	case e.running:
		refusal := refuse(http.StatusConflict, codeInProgress, "A request with this Idempotency-Key is in progress. Send it again later, with the same key.")
		refusal.retryLater = true
		return nil, refusal
	}
	e.running = true
	e.attempts++
	return e, nil
}

func (b *book) leave(e *entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e.running = false
}

// settle stores the answer of an entry that has none, and the charge with it.
func (b *book) settle(e *entry, declines bool) reply {
	if declines {
		e.answer = refuse(http.StatusPaymentRequired, codeDeclined, "The card was declined. Nothing was charged; pay with another card and a new key.")
		return *e.answer
	}
	charge := Charge{
		ID:        "ch_" + rand.Text(),
		Amount:    e.request.Amount,
		Currency:  e.request.Currency,
		Status:    Succeeded,
		Reference: e.request.Reference,
	}
	e.answer = &reply{status: http.StatusCreated, body: charge}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.charges = append(b.charges, RecordedCharge{charge, e.key})
	return *e.answer
}

func (b *book) all() []RecordedCharge {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]RecordedCharge{}, b.charges...)
}

func (b *book) of(key string) []RecordedCharge {
	return slices.DeleteFunc(b.all(), func(charge RecordedCharge) bool { return charge.IdempotencyKey != key })
}
