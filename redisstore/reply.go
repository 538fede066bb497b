package redisstore

import (
	"errors"
	"math"
	"strconv"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
)

// reply is what a script returns: a word that says what has happened, and what belongs to it.
type reply []any

var errUnreadable = idempotency.ErrRecordUnreadable.Because(errors.New("redisstore: the key's hash is not as this store has written it (see Store.Name): " +
	"somebody has changed it, or a newer version of this library has written it"))

func (r reply) word() string {
	word, _ := r.text(0)
	return word
}

func (r reply) text(i int) (string, bool) {
	if i >= len(r) {
		return "", false
	}
	text, ok := r[i].(string)
	return text, ok
}

// number reads a field that holds a number, as text.
func (r reply) number(i int) (int64, error) {
	text, _ := r.text(i)
	return strconv.ParseInt(text, 10, 64)
}

// record reads what recorded, in the scripts, returns.
func (r reply) record() (*idempotency.Record, error) {
	left, counted := r[1].(int64)
	fingerprint, _ := r.text(2)
	status, err := r.number(3)
	header, headed := r.text(4)
	body, bodied := r.text(5)
	record := &idempotency.Record{Response: idempotency.Response{Status: int(status)}}
	if err == nil {
		record.Fingerprint, err = idempotency.ParseFingerprint([]byte(fingerprint))
	}
	if err != nil || !headed || !bodied || !counted {
		return nil, errUnreadable
	}
	if left > 0 { // -1 where somebody has taken its end away
		record.Left = time.Duration(min(left, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
	}
	if header != "" {
		record.Response.Header = []byte(header)
	}
	if body != "" {
		record.Response.Body = []byte(body)
	}
	return record, nil
}

// progress reads the fields of a recovery point, from the i-th on: fingerprint, point, steps, request, attempt, completions, error.
func (r reply) progress(i int) (idempotency.Progress, error) {
	var p idempotency.Progress
	var texts [7]string
	for n := range texts {
		text, ok := r.text(i + n)
		if !ok {
			return p, errUnreadable
		}
		texts[n] = text
	}
	var err error
	if p.Fingerprint, err = idempotency.ParseFingerprint([]byte(texts[0])); err != nil {
		return p, errUnreadable
	}
	p.RecoveryPoint, p.LastError = texts[1], texts[6]
	p.Steps, p.Request = []byte(texts[2]), []byte(texts[3])
	if texts[3] == "" {
		p.Request = nil
	}
	for n, to := range map[int]*int{4: &p.Attempt, 5: &p.Completions} {
		number, err := strconv.ParseInt(texts[n], 10, 32)
		if err != nil || number < 0 {
			return p, errUnreadable
		}
		*to = int(number)
	}
	if p.Attempt == math.MaxInt32 {
		return p, errUnreadable // there is no next one
	}
	return p, nil
}
