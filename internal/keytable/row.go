package keytable

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
)

// The states of a row.
const (
	PendingState   = "pending"
	CompletedState = "completed"
)

// Row is what the table says of a key.
type Row struct {
	Present       bool
	State         string
	Fingerprint   []byte
	Status        *int
	Headers, Body []byte

	Expired     bool          // by the database's clock, when the row was read
	Left        time.Duration // of the retention, at most a day
	Synchronous bool          // commits wait for a standby
}

// Judge computes what follows from the times, in microseconds since the Epoch, and from the settings. A row without an end has Never.
func (r *Row) Judge(expires, now int64, standbys, level string) {
	r.Present = true
	r.Expired = expires <= now
	if !r.Expired {
		r.Left = 24 * time.Hour
		if day := r.Left.Microseconds(); expires < now+day {
			r.Left = time.Duration(expires-now) * time.Microsecond
		}
	}
	r.Synchronous = standbys != "" && level != "off" && level != "local"
}

// Never is when a row ends that has no end, or an infinite one, as PostgreSQL has it in its binary format.
const Never = math.MaxInt64

// Epoch is from where PostgreSQL counts microseconds.
var Epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// Record reads a row strictly: a damaged one is an error for the operator, never an answer and never a second run.
func (r *Row) Record() (*idempotency.Record, error) {
	if r.State != CompletedState || r.Status == nil {
		return nil, idempotency.ErrRecordUnreadable.Because(fmt.Errorf(
			"the row's state is %q: it was written by a version of this library that this one does not know", r.State))
	}
	fingerprint, err := idempotency.ParseFingerprint(r.Fingerprint)
	if err == nil && (r.Headers == nil || r.Body == nil) { // no headers and no body are empty, not NULL
		err = errors.New("the row is completed and has no headers, or no body")
	}
	if err != nil {
		return nil, idempotency.ErrRecordUnreadable.Because(err)
	}
	return &idempotency.Record{
		Fingerprint: fingerprint,
		Response:    idempotency.Response{Status: *r.Status, Header: r.Headers, Body: r.Body},
		Left:        r.Left,
	}, nil
}

// Same reports whether the record that was read back is the one that was to be committed.
func Same(a, b *idempotency.Record) bool {
	return a.Fingerprint == b.Fingerprint && a.Response.Status == b.Response.Status &&
		bytes.Equal(a.Response.Header, b.Response.Header) && bytes.Equal(a.Response.Body, b.Response.Body)
}
