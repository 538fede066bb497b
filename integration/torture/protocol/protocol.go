// Package protocol is how a server under torture and its tormentor talk: one JSON object a line on the server's standard output,
// one command a line on its standard input. When that closes, the server ends in an orderly way.
package protocol

// Said is one line of a server's. One of the fields is set.
type Said struct {
	// Address is where it listens.
	Address string `json:"address,omitempty"`
	// Begun is a run of a handler that is about to do its first statement, and Ended the nonce of one that has returned.
	Begun *Begun `json:"begun,omitempty"`
	Ended string `json:"ended,omitempty"`
	// ReadBack says that the reply to a commit was lost and the outcome was looked up.
	ReadBack *ReadBack `json:"read_back,omitempty"`
	// SQLState is the code of an error that a statement failed with.
	SQLState string `json:"sqlstate,omitempty"`
	// Clock is the answer to the command of this name: how far the clock is off now.
	Clock *Clock `json:"clock,omitempty"`
}

// Begun is a handler's run.
type Begun struct {
	Nonce     string `json:"nonce"`
	Key       string `json:"key"`
	Attempt   string `json:"attempt"`
	Completer bool   `json:"completer,omitempty"`
}

// ReadBack is what was found.
type ReadBack struct {
	Happened bool `json:"happened"`
}

// Clock is how far the wall clock is off. Fixed is one that cannot be moved.
type Clock struct {
	Seconds int64 `json:"seconds"`
	Fixed   bool  `json:"fixed,omitempty"`
}

// ClockCommand moves the wall clock: "clock 7200" puts it two hours ahead of the real one.
const ClockCommand = "clock"

// The names of the headers and of the body's fields that clients send.
const (
	AttemptHeader = "Attempt"
	AccountHeader = "Account"
	KeyHeader     = "Idempotency-Key"
)

// Order is the body of a payment. Reference is the key again, by which the rows are counted.
type Order struct {
	Reference string `json:"reference"`
	Account   string `json:"account"`
	Merchant  string `json:"merchant"`
	Amount    int64  `json:"amount"`
}

// Receipt is the answer. No two runs of a handler answer the same.
type Receipt struct {
	Payment int64  `json:"payment,omitempty"`
	Amount  int64  `json:"amount"`
	Nonce   string `json:"nonce"`
	Attempt string `json:"attempt"`
	Charge  string `json:"charge,omitempty"`
}

// Count is the answer to how many payments a key has.
type Count struct {
	Payments int `json:"payments"`
}

// Charge is what the provider answers, and what it is asked for.
type Charge struct {
	ID        string `json:"id,omitempty"`
	Reference string `json:"reference"`
	Amount    int64  `json:"amount"`
}

// Tables are the business tables. Nothing in them knows of idempotency keys: what is done twice is there twice.
const Tables = `
	CREATE TABLE accounts (name text PRIMARY KEY, opening bigint NOT NULL, available bigint NOT NULL);
	CREATE TABLE payments (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key text NOT NULL, attempt text NOT NULL, nonce text NOT NULL,
		account text NOT NULL, amount bigint NOT NULL);
	CREATE TABLE entries (payment bigint NOT NULL, key text NOT NULL, account text NOT NULL, amount bigint NOT NULL);
	CREATE TABLE steps (step text NOT NULL, key text NOT NULL, attempt text NOT NULL, amount bigint NOT NULL, charge text NOT NULL);
	CREATE INDEX ON payments (key);`
