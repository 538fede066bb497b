// Package history judges what clients and a database remember of a run in which everything around them broke. Clients note each of
// their attempts, outside of the database; at the end it is told what the database and the provider hold; [Check] says whether
// that can have come about by operations that took effect exactly once.
//
//	verdict := history.Check(h)
//	if !verdict.Clean() {
//		fmt.Println(verdict) // the keys, the rules that they break, and the attempts concerned
//	}
//
// The tables that the operations write have no unique constraint that knows of idempotency keys: what is done twice is there twice.
package history

import "time"

// Kind is what a key asks for.
type Kind string

const (
	// Payment is one transaction.
	Payment Kind = "payment"
	// Refusal is one transaction that writes the same, and whose answer says no.
	Refusal Kind = "refusal"
	// Card is a chain of transactions with recovery points, and a charge at a provider between them.
	Card Kind = "card"
)

// The steps of a [Card]: reserved here, charged there, settled here, notified there, and then paid with the answer. Without the call at
// the end a zombie would be done in the instant in which it wakes, and could not meet its successor on the way.
const (
	Reserve = "reserve"
	Charged = "charge"
	Settle  = "settle"
	Noticed = "notice"
)

// History is one run.
type History struct {
	Run        Run
	Attempts   []Attempt
	Executions []Execution
	Snapshot   Snapshot
}

// Run is what is to be known of a run as a whole.
type Run struct {
	Seed uint64 `json:"seed"`
	// Calm says that neither servers nor the database were disturbed. Clients may have gone away.
	Calm bool `json:"calm,omitempty"`
	// FaultsEnded is when nothing was broken any more, and clients asked for the answers that they still lacked.
	FaultsEnded time.Duration `json:"faults_ended"`
}

// Attempt is one request of a client, as the client saw it.
type Attempt struct {
	// ID is unique. The handler writes it into its rows.
	ID     string `json:"id"`
	Client int    `json:"client"`
	Server int    `json:"server"`
	Key    string `json:"key"`
	Kind   Kind   `json:"kind"`
	// Amount is the content. Attempts with one key and different amounts are different requests.
	Amount int64 `json:"amount"`
	// Read says that it only asks how many payments the key has.
	Read bool `json:"read,omitempty"`
	// Start and End are counted from the beginning of the run, by a clock that is not set.
	Start time.Duration `json:"start"`
	End   time.Duration `json:"end"`
	// Answered says that a whole answer came. What follows is only there if it did.
	Answered bool `json:"answered,omitempty"`
	// Vanished says that the client went away before that, of its own will.
	Vanished bool   `json:"vanished,omitempty"`
	Status   int    `json:"status,omitempty"`
	Code     string `json:"code,omitempty"`
	// Hash is of the body, and Headers are those that a replay has to repeat.
	Hash     string `json:"hash,omitempty"`
	Headers  string `json:"headers,omitempty"`
	Replayed bool   `json:"replayed,omitempty"`
	// Payment and Nonce are those that the answer names.
	Payment int64  `json:"payment,omitempty"`
	Nonce   string `json:"nonce,omitempty"`
	// Count is what a read was answered.
	Count int `json:"count,omitempty"`
}

// Success reports whether the client was told that the operation is done: with its result, or with its refusal.
func (a Attempt) Success() bool {
	if a.Read || !a.Answered {
		return false
	}
	return a.Status/100 == 2 || a.Kind == Refusal && a.Status == 402
}

// The codes of answers that the rules tell apart: see docs/problems.md.
const (
	CodeUnknown = "outcome-unknown"
	CodeReused  = "key-reused"
)

// Failed reports whether the client was told that this attempt did not take effect.
func (a Attempt) Failed() bool {
	return !a.Read && a.Answered && !a.Success() && a.Code != CodeUnknown
}

// Final reports whether the client has no reason to ask again.
func (a Attempt) Final() bool {
	return a.Success() || a.Answered && (a.Code == CodeReused || a.Read && a.Status == 200)
}

// Execution is one run of a handler, as its server told it.
type Execution struct {
	Nonce     string        `json:"nonce"`
	Key       string        `json:"key"`
	Attempt   string        `json:"attempt"`
	Server    int           `json:"server"`
	Completer bool          `json:"completer,omitempty"`
	Start     time.Duration `json:"start"`
	// End is 0 if the handler was never heard to return.
	End time.Duration `json:"end,omitempty"`
}

// Snapshot is what the database and the provider hold at the end.
type Snapshot struct {
	Payments []PaymentRow
	Entries  []Entry
	Steps    []StepRow
	Records  []Record
	Accounts []Account
	Charges  []Charge
}

// PaymentRow is the effect of an operation.
type PaymentRow struct {
	ID      int64  `json:"id"`
	Key     string `json:"key"`
	Attempt string `json:"attempt"`
	Nonce   string `json:"nonce"`
	Account string `json:"account"`
	Amount  int64  `json:"amount"`
}

// Entry is a line of the ledger. A payment has two, whose sum is nothing.
type Entry struct {
	Payment int64  `json:"payment"`
	Key     string `json:"key"`
	Account string `json:"account"`
	Amount  int64  `json:"amount"`
}

// StepRow is what an atomic step of a chain wrote.
type StepRow struct {
	Step    string `json:"step"`
	Key     string `json:"key"`
	Attempt string `json:"attempt"`
	Amount  int64  `json:"amount"`
	// Charge is the provider's, for [Settle].
	Charge string `json:"charge,omitempty"`
}

// Record is a key's row.
type Record struct {
	Key    string `json:"key"`
	State  string `json:"state"`
	Status int    `json:"status,omitempty"`
	Hash   string `json:"hash,omitempty"`
	// By is the attempt that the stored answer names as the one that it was made by.
	By string `json:"by,omitempty"`
	// Attempts is how many have had the key, and Error what the last one failed with, while it is pending.
	Attempts int    `json:"attempts,omitempty"`
	Error    string `json:"error,omitempty"`
}

// Account is a balance.
type Account struct {
	Name      string `json:"name"`
	Opening   int64  `json:"opening"`
	Available int64  `json:"available"`
}

// Charge is one effect at the provider, who makes one for each downstream key.
type Charge struct {
	ID string `json:"id"`
	// Step is [Charged] or [Noticed].
	Step       string `json:"step"`
	Downstream string `json:"downstream"`
	Key        string `json:"key"`
	Amount     int64  `json:"amount"`
	// Calls is how often it was asked for.
	Calls int `json:"calls"`
}
