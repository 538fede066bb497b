package upstream

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// Payment is a line of the ledger.
type Payment struct {
	ID        string `json:"id"`
	Reference string `json:"reference"`
	Amount    int64  `json:"amount"`
}

// Ledger is a file to which payments are appended, each on disk before anybody hears of it: what is in it has happened, whatever becomes of
// the process.
type Ledger struct {
	mu    sync.Mutex
	file  *os.File
	count int
}

// OpenLedger opens the ledger in the file of this name, or begins one.
func OpenLedger(name string) (*Ledger, error) {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	l := &Ledger{file: file}
	payments, err := l.Payments()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	l.count = len(payments)
	return l, nil
}

// Pay appends a payment. A second call with the same reference is a second payment: this service knows nothing of idempotency.
func (l *Ledger) Pay(reference string, amount int64) (Payment, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	payment := Payment{fmt.Sprintf("pay_%d", l.count+1), reference, amount}
	line, err := json.Marshal(payment)
	if err != nil {
		return Payment{}, err
	}
	if _, err := l.file.Write(append(line, '\n')); err != nil {
		return Payment{}, err
	}
	l.count++
	return payment, l.file.Sync()
}

// Payments returns all that were made.
func (l *Ledger) Payments() ([]Payment, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	in := bufio.NewScanner(io.NewSectionReader(l.file, 0, 1<<40))
	payments := []Payment{}
	for in.Scan() {
		var payment Payment
		if err := json.Unmarshal(in.Bytes(), &payment); err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", l.file.Name(), len(payments)+1, err)
		}
		payments = append(payments, payment)
	}
	return payments, in.Err()
}

// Close closes the file.
func (l *Ledger) Close() error { return l.file.Close() }
