package history

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// line is one of a log, which has one JSON object a line. One of the fields is set.
type line struct {
	Run       *Run        `json:"run,omitempty"`
	Attempt   *Attempt    `json:"attempt,omitempty"`
	Execution *Execution  `json:"execution,omitempty"`
	Payment   *PaymentRow `json:"payment,omitempty"`
	Entry     *Entry      `json:"entry,omitempty"`
	Step      *StepRow    `json:"step,omitempty"`
	Record    *Record     `json:"record,omitempty"`
	Account   *Account    `json:"account,omitempty"`
	Charge    *Charge     `json:"charge,omitempty"`
}

// Log writes attempts as they happen. It is safe for concurrent use.
type Log struct {
	mu  sync.Mutex
	out *bufio.Writer
	err error
}

// NewLog returns a Log that writes to out.
func NewLog(out io.Writer) *Log { return &Log{out: bufio.NewWriter(out)} }

// Attempt notes one that is over.
func (l *Log) Attempt(a Attempt) { l.write(line{Attempt: &a}) }

// Close writes the rest of h, everything but its attempts, and returns the first error of all writes.
func (l *Log) Close(h History) error {
	l.write(line{Run: &h.Run})
	for i := range h.Executions {
		l.write(line{Execution: &h.Executions[i]})
	}
	for i := range h.Snapshot.Payments {
		l.write(line{Payment: &h.Snapshot.Payments[i]})
	}
	for i := range h.Snapshot.Entries {
		l.write(line{Entry: &h.Snapshot.Entries[i]})
	}
	for i := range h.Snapshot.Steps {
		l.write(line{Step: &h.Snapshot.Steps[i]})
	}
	for i := range h.Snapshot.Records {
		l.write(line{Record: &h.Snapshot.Records[i]})
	}
	for i := range h.Snapshot.Accounts {
		l.write(line{Account: &h.Snapshot.Accounts[i]})
	}
	for i := range h.Snapshot.Charges {
		l.write(line{Charge: &h.Snapshot.Charges[i]})
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = l.out.Flush()
	}
	return l.err
}

func (l *Log) write(what line) {
	encoded, err := json.Marshal(what)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return
	}
	if l.err = err; err == nil {
		_, l.err = l.out.Write(append(encoded, '\n'))
	}
}

// Read reads what a [Log] has written.
func Read(in io.Reader) (History, error) {
	var h History
	decoder := json.NewDecoder(in)
	for n := 1; ; n++ {
		var said line
		if err := decoder.Decode(&said); err == io.EOF {
			return h, nil
		} else if err != nil {
			return h, fmt.Errorf("history: line %d: %w", n, err)
		}
		switch {
		case said.Run != nil:
			h.Run = *said.Run
		case said.Attempt != nil:
			h.Attempts = append(h.Attempts, *said.Attempt)
		case said.Execution != nil:
			h.Executions = append(h.Executions, *said.Execution)
		case said.Payment != nil:
			h.Snapshot.Payments = append(h.Snapshot.Payments, *said.Payment)
		case said.Entry != nil:
			h.Snapshot.Entries = append(h.Snapshot.Entries, *said.Entry)
		case said.Step != nil:
			h.Snapshot.Steps = append(h.Snapshot.Steps, *said.Step)
		case said.Record != nil:
			h.Snapshot.Records = append(h.Snapshot.Records, *said.Record)
		case said.Account != nil:
			h.Snapshot.Accounts = append(h.Snapshot.Accounts, *said.Account)
		case said.Charge != nil:
			h.Snapshot.Charges = append(h.Snapshot.Charges, *said.Charge)
		}
	}
}
