package pgstore

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/onlyonce/onlyonce/idempotency"
)

// The states of a row.
const (
	pendingState   = "pending"
	completedState = "completed"
)

// row is what the table says of a key.
type row struct {
	present       bool
	state         string
	fingerprint   []byte
	status        *int
	headers, body []byte

	expired     bool          // by the database's clock, when the row was read
	left        time.Duration // of the retention, at most a day
	synchronous bool          // commits wait for a standby
}

// scan reads what readSQL has found, if anything.
func (r *row) scan(from pgx.Row) error {
	var expires, now pgtype.Timestamptz
	var standbys, level string
	err := from.Scan(&r.state, &r.fingerprint, &r.status, &r.headers, &r.body, &expires, &now, &standbys, &level)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	r.judge(microseconds(expires), microseconds(now), standbys, level)
	return err
}

// judge computes what follows from the times, in microseconds since the epoch, and from the settings. A row without an end has never.
func (r *row) judge(expires, now int64, standbys, level string) {
	r.present = true
	r.expired = expires <= now
	if !r.expired {
		r.left = 24 * time.Hour
		if day := r.left.Microseconds(); expires < now+day {
			r.left = time.Duration(expires-now) * time.Microsecond
		}
	}
	r.synchronous = standbys != "" && level != "off" && level != "local"
}

// never is when a row ends that has no end, or an infinite one, as PostgreSQL has it in its binary format.
const never = math.MaxInt64

func microseconds(t pgtype.Timestamptz) int64 {
	switch {
	case !t.Valid || t.InfinityModifier == pgtype.Infinity:
		return never
	case t.InfinityModifier == pgtype.NegativeInfinity:
		return math.MinInt64
	}
	return t.Time.Sub(epoch).Microseconds()
}

// record reads a row strictly: a damaged one is an error for the operator, never an answer and never a second run.
func (r *row) record() (*idempotency.Record, error) {
	if r.state != completedState || r.status == nil {
		return nil, idempotency.ErrRecordUnreadable.Because(fmt.Errorf(
			"the row's state is %q: it was written by a version of this library that this one does not know", r.state))
	}
	fingerprint, err := idempotency.ParseFingerprint(r.fingerprint)
	if err == nil && (r.headers == nil || r.body == nil) { // no headers and no body are empty, not NULL
		err = errors.New("pgstore: the row is completed and has no headers, or no body")
	}
	if err != nil {
		return nil, idempotency.ErrRecordUnreadable.Because(err)
	}
	return &idempotency.Record{
		Fingerprint: fingerprint,
		Response:    idempotency.Response{Status: *r.status, Header: r.headers, Body: r.body},
		Left:        r.left,
	}, nil
}
