package idempotency

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
)

// Sealer seals what is stored so that whoever reads the store cannot read it, and whoever writes there cannot change it. The
// package seal has one, with AES-256-GCM and keys that are rotated. It is safe for concurrent use, and quick: it is called while a
// transaction is open.
type Sealer interface {
	// Seal returns plain, encrypted and authenticated together with bound. What it returns says by itself which key opens it.
	Seal(plain, bound []byte) ([]byte, error)
	// Open returns what was sealed with this very bound, and an error for anything else. The error is for the operator: it says
	// what to do, and holds nothing secret.
	Open(sealed, bound []byte) ([]byte, error)
}

// Sealing says how far a service with a [Sealer] is on the way from plain records to sealed ones, or back. The first word is what it
// stores.
type Sealing int

const (
	// SealedOnly stores everything sealed, and refuses what is not: nobody who can write to the store can forge an answer.
	SealedOnly Sealing = iota
	// SealedAndPlain stores everything sealed, and reads what is plain as well: for as long as there are records from before.
	SealedAndPlain
	// PlainAndSealed stores everything plain, and reads what is sealed as well: before every process can open what the first one
	// seals; and when sealing is given up.
	PlainAndSealed
)

func checkSealing(c Config) error {
	switch {
	case c.Sealing < SealedOnly || c.Sealing > PlainAndSealed:
		return fmt.Errorf("idempotency: Config.Sealing is %d: give SealedOnly, SealedAndPlain or PlainAndSealed", c.Sealing)
	case c.Sealing != SealedOnly && c.Sealer == nil:
		return errors.New("idempotency: Config.Sealing is set, and Config.Sealer is not: set that too, see package seal")
	}
	return nil
}

// part is what a sealed text is of its key, so that one part cannot stand in for another.
type part byte

const (
	responsePart part = 'r'
	stepsPart    part = 's'
	requestPart  part = 'q'
)

func (p part) String() string {
	switch p {
	case responsePart:
		return "response"
	case stepsPart:
		return "list of steps"
	}
	return "request"
}

// sealedMark begins whatever is stored sealed, and is the whole header of a sealed response. Nothing plain begins with it: no
// header's name and no list of steps can, and what else would is not stored.
const sealedMark = "\x00sealed:"

func sealed(stored []byte) bool { return bytes.HasPrefix(stored, []byte(sealedMark)) }

// seals reports whether what is stored now is sealed.
func (e *Engine) seals() bool { return e.config.Sealer != nil && e.config.Sealing != PlainAndSealed }

// readsPlain reports whether what is stored plain is believed.
func (e *Engine) readsPlain() bool { return e.config.Sealer == nil || e.config.Sealing != SealedOnly }

// sealPart returns a part as it is to be stored under this key and fingerprint.
func (e *Engine) sealPart(p part, key Key, fingerprint Fingerprint, plain []byte) ([]byte, error) {
	if !e.seals() {
		return plain, notMarked(p, plain)
	}
	text, err := e.config.Sealer.Seal(plain, bound(p, key, fingerprint))
	if err != nil {
		return nil, ErrInternal.Because(fmt.Errorf("idempotency: Config.Sealer: the %s could not be sealed: %w", p, err))
	}
	return append([]byte(sealedMark), text...), nil
}

// notMarked keeps a handler from storing what would be taken for sealed.
func notMarked(p part, plain []byte) error {
	if sealed(plain) {
		return ErrInternal.Because(fmt.Errorf("idempotency: the %s begins with %q, which marks what is sealed: let it begin with something else", p, sealedMark))
	}
	return nil
}

// openPart returns a stored part as it was, if it was stored under this very key and fingerprint.
func (e *Engine) openPart(p part, key Key, fingerprint Fingerprint, stored []byte) ([]byte, error) {
	if sealed(stored) {
		return e.open(p, key, fingerprint, stored)
	}
	if !e.readsPlain() {
		return nil, notSealed(p)
	}
	return stored, nil
}

func notSealed(p part) error {
	return ErrRecordUnreadable.Because(fmt.Errorf("idempotency: the stored %s is not sealed, and Config.Sealing is SealedOnly: "+
		"if it is from before Config.Sealer was set, set Config.Sealing to SealedAndPlain until no such row is left; else somebody has written it who is not this service", p))
}

func (e *Engine) open(p part, key Key, fingerprint Fingerprint, stored []byte) ([]byte, error) {
	switch {
	case e.config.Sealer == nil:
		return nil, ErrRecordUnreadable.Because(fmt.Errorf("idempotency: the stored %s is sealed, and Config.Sealer is not set: set it, with the key that sealed it", p))
	case !sealed(stored):
		return nil, ErrRecordUnreadable.Because(fmt.Errorf("idempotency: the stored %s is damaged: it is marked as sealed, and is not", p))
	}
	plain, err := e.config.Sealer.Open(stored[len(sealedMark):], bound(p, key, fingerprint))
	if err != nil {
		return nil, ErrRecordUnreadable.Because(fmt.Errorf("idempotency: the stored %s does not open: %w", p, err))
	}
	return plain, nil
}

// boundVersion changes with what follows it.
const boundVersion = 1

// bound says what a sealed part belongs to. Scope and key go in with their lengths, so that no two lists give the same bytes.
func bound(p part, key Key, fingerprint Fingerprint) []byte {
	b := make([]byte, 0, 2+2*binary.MaxVarintLen64+len(key.Scope)+len(key.Value)+len(fingerprint))
	b = append(b, boundVersion, byte(p))
	for _, field := range []string{key.Scope, key.Value} {
		b = binary.AppendUvarint(b, uint64(len(field)))
		b = append(b, field...)
	}
	return append(b, fingerprint[:]...)
}

// sealRecord returns record as it is to be stored. Headers and body are sealed as one, together with the status, which stays
// readable beside them and cannot be changed either.
func (e *Engine) sealRecord(key Key, record *Record) (*Record, error) {
	response := record.Response
	if !e.seals() {
		return record, notMarked(responsePart, response.Header)
	}
	plain := make([]byte, 0, 2*binary.MaxVarintLen64+len(response.Header)+len(response.Body))
	plain = binary.AppendVarint(plain, int64(response.Status))
	plain = binary.AppendUvarint(plain, uint64(len(response.Header)))
	plain = append(append(plain, response.Header...), response.Body...)
	text, err := e.sealPart(responsePart, key, record.Fingerprint, plain)
	if err != nil {
		return nil, err
	}
	return &Record{
		Fingerprint: record.Fingerprint,
		Response:    Response{Status: response.Status, Header: []byte(sealedMark), Body: text},
	}, nil
}

// openRecord returns a stored record as it was, or why it cannot be read. Only what it returns may be compared with a request: that
// another fingerprint was put into the row would have the client send its request again with a new key.
func (e *Engine) openRecord(key Key, stored *Record) (*Record, error) {
	response := stored.Response
	if !sealed(response.Header) {
		if !e.readsPlain() {
			return nil, notSealed(responsePart)
		}
		return stored, nil
	}
	plain, err := e.open(responsePart, key, stored.Fingerprint, response.Body)
	if err != nil {
		return nil, err
	}
	status, n := binary.Varint(plain)
	length, m := binary.Uvarint(plain[max(n, 0):])
	if n <= 0 || m <= 0 || length > uint64(len(plain)-n-m) || int64(response.Status) != status || len(response.Header) != len(sealedMark) {
		return nil, ErrRecordUnreadable.Because(errors.New("idempotency: the stored response is not the one that was sealed: its status or its header was changed"))
	}
	plain = plain[n+m:]
	header, body := plain[:length:length], plain[length:] // without the spare room that is the other's
	return &Record{Fingerprint: stored.Fingerprint, Response: Response{Status: response.Status, Header: header, Body: body}}, nil
}

// ask is the store's Claim, with the record as it was before it was sealed. The cache gets to know it.
func (c *call) ask(ctx context.Context) (attempt Attempt, record *Record, err error) {
	since := c.asked()
	if c.identities != nil {
		attempt, record, err = c.identities.ClaimAs(ctx, c.request.Key, c.request.identity())
	} else {
		attempt, record, err = c.store.Claim(ctx, c.request.Key)
	}
	if record != nil && err == nil {
		record, err = c.openFresh(c.request.Key, record, since)
	}
	return attempt, record, err
}

// lookUp is the store's Lookup, with the record as it was before it was sealed. The cache gets to know it.
func (e *Engine) lookUp(ctx context.Context, key Key) (*Record, error) {
	since := e.asked()
	record, err := e.store.Lookup(ctx, key)
	if record != nil && err == nil {
		record, err = e.openFresh(key, record, since)
	}
	return record, err
}

// openFresh opens a record that the store was asked for at since, and which it vouches for.
func (e *Engine) openFresh(key Key, stored *Record, since instant) (*Record, error) {
	record, err := e.openRecord(key, stored)
	if err == nil {
		e.cache(key, record, stored.Left, since)
	}
	return record, err
}

// openSteps returns the list of steps of a pending key.
func (e *Engine) openSteps(key Key, progress *Progress) ([]byte, error) {
	return e.openPart(stepsPart, key, progress.Fingerprint, progress.Steps)
}

// openRequest returns the request of a pending key, or nil if none was stored.
func (e *Engine) openRequest(pending *Pending) ([]byte, error) {
	if pending.Request == nil {
		return nil, nil
	}
	return e.openPart(requestPart, pending.Key, pending.Fingerprint, pending.Request)
}
