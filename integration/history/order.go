package history

import (
	"time"

	"github.com/anishathalye/porcupine"
)

// patience bounds what porcupine may think about one key.
const patience = 20 * time.Second

// operation is what porcupine is told of an attempt.
type operation struct {
	kind operationKind
	// chain keys are held by their first request before they are done.
	chain  bool
	amount int64
	hash   string
	count  int
}

type operationKind int

const (
	takesEffect operationKind = iota // nothing was done, and now it is
	refuses                          // nothing was done, and now it is refused
	isTold                           // it is done, or refused, and this is the result
	counts                           // so many payments are there
	isReused                         // it is done, and was another request
)

// state is that of a key.
type state struct {
	done, paid bool
	amount     int64
	hash       string
}

// model is a key on which nothing was done, and then something was, once.
var model = porcupine.Model{
	Init: func() any { return state{} },
	Step: func(before, input, _ any) (bool, any) {
		s, o := before.(state), input.(operation)
		switch o.kind {
		case takesEffect, refuses:
			return !s.done, state{done: true, paid: o.kind == takesEffect, amount: o.amount, hash: o.hash}
		case isTold:
			return s.done && s.amount == o.amount && s.hash == o.hash, s
		case counts:
			return o.count == 0 && !s.paid || o.count == 1 && s.paid, s
		default:
			return o.chain || s.done && s.amount != o.amount, s
		}
	},
}

// ordered is [Ordered]. Which of the attempts took effect is known from the payment's row, or for a refusal from the answer that is
// stored, so that nothing is left to guess: an attempt without an answer either has its id there, and did it at some time after
// it was sent, or it did nothing.
func (c *checker) ordered(f *file) {
	if len(f.payments) > 1 || len(f.attempts) == 0 {
		return // convicted already, by a rule that says it better; or nobody asked
	}
	if f.kind == Refusal && (len(f.payments) > 0 || len(f.records) != 1 && len(f.successes()) > 0) {
		return // likewise
	}
	operations := f.operations()
	switch porcupine.CheckOperationsTimeout(model, operations, patience) {
	case porcupine.Illegal:
		c.convict(Ordered, f, f.attempts, "no order explains what the clients saw, and %d payments in the end", len(f.payments))
	case porcupine.Unknown:
		c.convict(Ordered, f, f.attempts, "no order was found in %v, nor that there is none", patience)
	}
}

func (f *file) operations() []porcupine.Operation {
	var end time.Duration
	for _, a := range f.attempts {
		end = max(end, a.End)
	}
	for _, e := range f.executions {
		end = max(end, e.End)
	}
	var all []porcupine.Operation
	add := func(client int, from, to time.Duration, o operation) {
		o.chain = f.kind == Card
		all = append(all, porcupine.Operation{ClientId: client, Call: int64(from), Return: int64(to), Input: o})
	}
	openEnd := end + 3
	by, stored, does := f.by()
	found := by == ""
	for _, a := range f.attempts {
		switch {
		case a.Read && a.Answered && a.Status == 200:
			add(a.Client, a.Start, a.End, operation{kind: counts, count: a.Count})
		case a.ID == by && a.Success():
			found = true
			add(a.Client, a.Start, a.End, operation{kind: does, amount: a.Amount, hash: a.Hash})
		case a.ID == by:
			found = true
			add(a.Client, a.Start, openEnd, operation{kind: does, amount: a.Amount, hash: stored})
		case a.Success():
			add(a.Client, a.Start, a.End, operation{kind: isTold, amount: a.Amount, hash: a.Hash})
		case a.Answered && a.Code == CodeReused:
			add(a.Client, a.Start, a.End, operation{kind: isReused, amount: a.Amount})
		}
	}
	if !found && len(f.payments) == 1 { // the completer did it, for one of them
		add(0, f.attempts[0].Start, openEnd, operation{kind: does, amount: f.payments[0].Amount, hash: stored})
	}
	// The database has the last word.
	add(0, end+1, end+2, operation{kind: counts, count: len(f.payments)})
	return all
}

// by returns the attempt that did it, if it was done, the hash of what is stored about it, and what it did.
func (f *file) by() (attempt, stored string, does operationKind) {
	does = takesEffect
	if len(f.records) == 1 {
		stored = f.records[0].Hash
	}
	switch {
	case f.kind == Refusal && len(f.records) == 1:
		attempt, does = f.records[0].By, refuses
	case f.kind != Refusal && len(f.payments) == 1:
		attempt = f.payments[0].Attempt
	}
	return attempt, stored, does
}
