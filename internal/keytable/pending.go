package keytable

import (
	"crypto/rand"
	"fmt"
	"math"

	"github.com/onlyonce/onlyonce/idempotency"
)

// Pending is what an attempt knows of its key's pending row. The token changes with each save, so that an attempt which has
// read the row before cannot take it over behind its owner's back.
type Pending struct {
	Found *idempotency.Progress // what the claim read, if there was a row
	Owner []byte                // the token that it carries
	Owned bool                  // and that is this attempt's
	Next  []byte                // the token that is being written
}

// Kept reports whether there is a row.
func (r *Pending) Kept() bool { return r.Found != nil || r.Owned }

// OwnerBytes is the length of an owner token.
const OwnerBytes = 16

var _ [33]byte = idempotency.Fingerprint{} // the number in wholeSQL

// Propose returns a token that nobody else can come by.
func (r *Pending) Propose() []byte {
	r.Next = make([]byte, OwnerBytes)
	_, _ = rand.Read(r.Next) // it never fails
	return r.Next
}

// Accepted says that the proposed token was written.
func (r *Pending) Accepted() { r.Owner, r.Owned = r.Next, true }

// Resumable reads what stands in a pending row besides p, and refuses what is damaged: see wholeSQL.
func (r *Pending) Resumable(p *idempotency.Progress, fingerprint []byte) (err error) {
	p.Fingerprint, err = idempotency.ParseFingerprint(fingerprint)
	if err == nil && (len(r.Owner) != OwnerBytes || p.Attempt < 0 || p.Attempt == math.MaxInt32 || p.Completions < 0) {
		err = fmt.Errorf("the row is pending, its owner has %d bytes, and it counts %d attempts, %d of them the completer's",
			len(r.Owner), p.Attempt, p.Completions)
	}
	if err != nil {
		return idempotency.ErrRecordUnreadable.Because(err)
	}
	return nil
}
