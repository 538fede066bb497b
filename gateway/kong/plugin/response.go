package plugin

import (
	"context"
	"errors"
	"slices"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/httpidem"
)

// response stores the service's answer, or frees the key. Kong waits for it before it sends a byte to the client.
func (x *exchange) response() {
	kong := x.kong
	c, err := carried(kong)
	if err != nil || c == nil {
		if err != nil {
			x.tell(kong.Log.Err, "the answer is not kept", err)
		}
		return
	}
	wasClaimed := c.state != asked
	c.state = answered
	if err := carry(kong, c); err != nil {
		return // Kong is gone: the lease ends by itself
	}
	if x.settings, err = x.config.settings(); err != nil {
		x.tell(kong.Log.Err, "the answer is not kept", err)
		return
	}
	status, err := kong.ServiceResponse.GetStatus()
	if err == nil && slices.Contains(x.unknown, status) && x.hold {
		_ = kong.Log.Warn("onlyonce: the service's status says that it does not know what has happened either: the key stays pending until the lease is over")
		return
	}
	record, err := x.record(c, status, err)
	if err != nil {
		x.tell(kong.Log.Err, "the service's answer cannot be read from Kong, and is not kept; its key stays pending until the lease is over", err)
		return
	}
	if record == nil {
		x.free(c)
		return
	}
	err = x.settle(c, record)
	if errors.Is(err, idempotency.ErrResponseTooLarge) { // by the bounds of where keys are kept
		record.Response = x.tooLarge()
		err = x.settle(c, record)
	}
	switch {
	case err == nil:
	case errors.Is(err, idempotency.ErrLeaseLost) && wasClaimed:
		x.overtaken(c, err)
	default:
		// The client gets the answer all the same: the service has done what it was asked for, and who is told to retry would have it done again
		// when the lease is over.
		x.tell(kong.Log.Err, "the service's answer cannot be stored, and goes to the client alone; its key stays pending until the lease is over, "+
			"and a retry after that reaches the service again", err)
	}
}

func (x *exchange) settle(c *claim, record *idempotency.Record) error {
	return x.place.lend(func(leaser idempotency.Leaser) error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		return again(ctx, func() error {
			_, err := leaser.Settle(ctx, c.key, c.owner, record, x.retention)
			return err
		})
	})
}

// record is what is kept of the service's answer: nil where its status frees the key.
func (x *exchange) record(c *claim, status int, err error) (*idempotency.Record, error) {
	kong := x.kong
	if err != nil {
		return nil, err
	}
	if status < 200 || status > 599 {
		return nil, errors.New("onlyonce: the service's status cannot be told, or is none")
	}
	response := idempotency.Response{Status: status}
	if x.outcome(response) == idempotency.Release || slices.Contains(x.unknown, status) {
		return nil, nil
	}
	header, err := headers(kong.ServiceResponse.PdkBridge, "kong.service.response.get_headers")
	if err != nil {
		return nil, err
	}
	body, err := responseBody(kong)
	if err != nil {
		return nil, err
	}
	if len(body) > x.maxResponse {
		return &idempotency.Record{Fingerprint: c.fingerprint, Response: x.tooLarge()}, nil
	}
	return &idempotency.Record{Fingerprint: c.fingerprint, Response: x.edge.Response(status, header, body)}, nil
}

// tooLarge is what is kept in place of an answer that is too large to be kept: what it answers must not be done again.
func (x *exchange) tooLarge() idempotency.Response {
	_ = x.kong.Log.Warn("onlyonce: a response is larger than max_response, or than what is taken where keys are kept: retries get a problem document in its place")
	a := newAnswer()
	httpidem.WriteProblem(a, &idempotency.Error{
		Code:   idempotency.CodeResponseTooLarge,
		Detail: "The operation was done, and its response was too large to be kept for a retry. Do not send it again; ask for its result.",
	})
	return x.edge.Response(a.status, a.header, a.body)
}

// free gives the key back: the service has said that it can be asked again. Where the store cannot be reached, Log tries again.
func (x *exchange) free(c *claim) {
	c.state = unneeded
	_ = carry(x.kong, c)
	err := x.place.lend(func(leaser idempotency.Leaser) error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		return leaser.Free(ctx, c.key, c.owner)
	})
	switch {
	case err == nil, errors.Is(err, idempotency.ErrLeaseLost):
		_ = drop(x.kong)
	default:
		x.tell(x.kong.Log.Err, "a key that can be freed was not", err)
	}
}

// overtaken answers a request whose lease has ended before the service answered, and whose key somebody else took over: as every retry will be
// answered. The service was asked twice.
func (x *exchange) overtaken(c *claim, cause error) {
	var record *idempotency.Record
	err := x.place.lend(func(leaser idempotency.Leaser) (err error) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		record, err = leaser.Lookup(ctx, c.key)
		return err
	})
	x.tell(x.kong.Log.Err, "the service took longer than the lease: another request has taken the key over, and the service was asked twice; "+
		"raise timeout_ms and lease_ms above all that the service and its retries can take", cause)
	if err != nil || record == nil || record.Fingerprint != (idempotency.Fingerprint{}) && !record.Fingerprint.Equal(c.fingerprint) {
		refuse(x.kong, idempotency.ErrLeaseLost)
		return
	}
	a := newAnswer()
	httpidem.WriteReplay(a, record.Response)
	a.exit(x.kong)
}
