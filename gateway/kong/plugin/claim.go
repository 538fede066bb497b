package plugin

import (
	"encoding/base64"
	"errors"

	"github.com/Kong/go-pdk"

	"github.com/onlyonce/onlyonce/idempotency"
)

// claim is what a request carries from phase to phase in Kong's shared context: all that it takes to end its loan.
//
// It is carried, and not read again, because it cannot be: in Log the consumer, the method and the body are out of reach, and plugins behind this
// one may have changed the headers, the key's among them, before Response runs. The context lives in the worker's memory as long as the request, whose
// headers hold the same key; no plugin of Kong's logs it.
type claim struct {
	state       state
	owner       idempotency.OwnerToken
	fingerprint idempotency.Fingerprint
	key         idempotency.Key
}

// state is how far a request has come.
type state byte

const (
	// asked: the store was asked for the key. Whether it was lent is not known, nor whether the service gets the request.
	asked state = 'a'
	// claimed: the key is lent, and from here on the service may have the request.
	claimed state = 'c'
	// answered: the service has answered. Whatever goes wrong now, the key is not freed.
	answered state = 'r'
	// unneeded: nothing is to be kept: the service did not get the request, or has said that it can be sent again. The key is to be freed.
	unneeded state = 'u'
)

// shared is the name of the claim in Kong's shared context.
const shared = "onlyonce_claim"

const claimVersion = 1

// carry puts c in the shared context, in place of what is there. It is one string: Kong hands strings through as they are.
func carry(kong *pdk.PDK, c *claim) error { return kong.Ctx.SetShared(shared, c.String()) }

// String is what parseClaim reads.
func (c *claim) String() string {
	b := make([]byte, 0, 64+len(c.key.Scope)+len(c.key.Value))
	b = append(b, claimVersion, byte(c.state))
	b = append(b, c.owner[:]...)
	b = append(b, c.fingerprint[:]...)
	b = append(b, byte(len(c.key.Scope))) // at most idempotency.MaxKeyBytes
	b = append(b, c.key.Scope...)
	b = append(b, c.key.Value...)
	return base64.RawStdEncoding.EncodeToString(b)
}

// drop takes the claim off: nothing is left to do.
func drop(kong *pdk.PDK) error { return kong.Ctx.SetShared(shared, "") }

var errClaim = errors.New("onlyonce: the claim in Kong's shared context is damaged: does another plugin write to " + shared + "?")

// carried returns what carry has put, or nil.
func carried(kong *pdk.PDK) (*claim, error) {
	value, err := kong.Ctx.GetSharedAny(shared)
	if err != nil {
		return nil, err
	}
	if value == nil || value == "" {
		return nil, nil
	}
	text, ok := value.(string)
	if !ok {
		return nil, errClaim
	}
	return parseClaim(text)
}

func parseClaim(text string) (*claim, error) {
	b, err := base64.RawStdEncoding.Strict().DecodeString(text)
	const fixed = 2 + len(idempotency.OwnerToken{}) + idempotency.FingerprintSize + 1
	if err != nil || len(b) < fixed || b[0] != claimVersion {
		return nil, errClaim
	}
	c := &claim{state: state(b[1])}
	switch c.state {
	case asked, claimed, answered, unneeded:
	default:
		return nil, errClaim
	}
	rest := b[2:]
	rest = rest[copy(c.owner[:], rest):]
	rest = rest[copy(c.fingerprint[:], rest):]
	scope := int(rest[0])
	if rest = rest[1:]; scope > len(rest) {
		return nil, errClaim
	}
	c.key = idempotency.Key{Scope: string(rest[:scope]), Value: string(rest[scope:])}
	if c.owner == (idempotency.OwnerToken{}) || c.key.Check() != nil {
		return nil, errClaim
	}
	return c, nil
}
