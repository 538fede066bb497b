package plugin

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/httpidem"
)

// access claims the key of a protected request. It ends in one of three ways: the request passes, claimed or without a key; it is answered; or Kong
// is gone.
func (x *exchange) access() {
	kong := x.kong
	var err error
	if x.settings, err = x.config.settings(); err != nil {
		x.tell(kong.Log.Err, "", err)
		refuse(kong, err)
		return
	}
	request, body, key, err := x.request()
	switch {
	case err != nil:
		if isDefect(err) {
			x.tell(kong.Log.Err, "a request cannot be protected, and is refused", err)
		}
		refuse(kong, err)
		return
	case key == idempotency.Key{}:
		return
	}
	identity := x.edge.Identity(request, body)
	c := &claim{state: asked, owner: idempotency.NewOwnerToken(), fingerprint: identity.Fingerprint, key: key}
	// Kong runs a phase again whose plugin server was killed. The claim that it had then is this one: the same owner's Acquire renews it.
	if earlier, err := carried(kong); err == nil && earlier != nil && earlier.key == c.key {
		c.owner = earlier.owner
	}
	// The token is with Kong before it is with the store: whatever happens next, a phase to come can end the loan.
	if err := carry(kong, c); err != nil {
		refuse(kong, err)
		return
	}
	lease, record, err := x.acquire(c, identity)
	switch {
	case err != nil:
		x.refuseClaimed(c, err)
	case record != nil:
		_ = drop(kong) // a replay runs Log as well
		a := newAnswer()
		httpidem.WriteReplay(a, record.Response)
		a.exit(kong)
	default:
		if lease.Attempt > 1 {
			_ = kong.Log.Notice(fmt.Sprintf("onlyonce: attempt %d at a key: the one before was left without an outcome, and may have had its effect", lease.Attempt))
		}
		c.state = claimed
		if err := carry(kong, c); err != nil {
			refuse(kong, err)
			return
		}
		_ = kong.ServiceRequest.SetHeader(attemptHeader, strconv.Itoa(lease.Attempt)) // in place of the client's own
		x.config.advise.Do(x.adviseOnTimeouts)
	}
}

// attemptHeader tells the service the number of the attempt: above 1, an earlier one may have had its effect. The proxy sends the same.
const attemptHeader = "Idempotency-Attempt"

// adviseOnTimeouts says, once, that Kong may wait for the service for longer than the lease was made for. A service's defaults are three minutes, and five
// retries.
func (x *exchange) adviseOnTimeouts() {
	service, err := x.kong.Router.GetService()
	if err != nil {
		return
	}
	longest := time.Duration(service.ConnectTimeout+service.WriteTimeout+service.ReadTimeout) * time.Millisecond * time.Duration(service.Retries+1)
	if longest > x.timeout {
		_ = x.kong.Log.Warn(fmt.Sprintf("onlyonce: the service's time-outs and its %d retries allow for %d ms, and timeout_ms is %d: a key could be claimed again "+
			"while the service is at work. Lower connect_timeout, write_timeout, read_timeout and retries of the service, or raise timeout_ms and lease_ms",
			service.Retries, longest.Milliseconds(), x.timeout.Milliseconds()))
	}
}

// refuseClaimed answers a request whose key was not lent; or of which that is not known, and then Log frees it.
func (x *exchange) refuseClaimed(c *claim, err error) {
	if errors.Is(err, idempotency.ErrInProgress) || errors.Is(err, idempotency.ErrKeyReused) {
		_ = drop(x.kong)
	} else {
		if errors.Is(err, idempotency.ErrOutcomeUnknown) {
			err = idempotency.ErrStoreUnavailable.Because(err) // of the claim: the service gets nothing
		}
		x.tell(x.kong.Log.Err, "a key cannot be claimed, and its request is refused", err)
		c.state = unneeded
		_ = carry(x.kong, c)
	}
	refuse(x.kong, err)
}

// acquire asks for the key, and, where the configuration says so, waits for another request that has it.
func (x *exchange) acquire(c *claim, identity idempotency.Identity) (lease *idempotency.Lease, record *idempotency.Record, err error) {
	waiting := time.Now().Add(x.wait)
	for pause := 25 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		err = x.place.lend(func(leaser idempotency.Leaser) error {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			var err error
			lease, record, err = leaser.Acquire(ctx, c.key, idempotency.Terms{
				Owner: c.owner, Identity: identity, Lease: x.lease, Remember: x.retention,
			})
			return err
		})
		left := time.Until(waiting)
		if left <= 0 || !errors.Is(err, idempotency.ErrInProgress) {
			return lease, record, err
		}
		time.Sleep(min(left, pause/2+rand.N(pause)))
	}
}

// request reads what is asked for. No key says that the request passes.
func (x *exchange) request() (r *http.Request, body []byte, key idempotency.Key, err error) {
	kong := x.kong
	method, err := kong.Request.GetMethod()
	if err != nil || !x.edge.Protects(method) {
		return nil, nil, key, err
	}
	header, err := headers(kong.Request.PdkBridge, "kong.request.get_headers")
	if errors.Is(err, errHeaders) {
		return nil, nil, key, idempotency.ErrRequestUnreadable.Because(err)
	} else if err != nil {
		return nil, nil, key, err
	}
	if key.Value, err = x.edge.Key(header); err != nil || key.Value == "" {
		return nil, nil, idempotency.Key{}, err
	}
	if key.Scope, err = x.scope.of(kong, header); err != nil {
		return nil, nil, key, err
	}
	if err = key.Check(); err != nil {
		return nil, nil, key, err
	}
	if !x.http2 {
		version, err := kong.Request.GetHttpVersion()
		if err != nil {
			return nil, nil, key, err
		}
		if version >= 2 {
			return nil, nil, key, unbuffered("A request by HTTP/2", "Send it by HTTP/1.1.")
		}
	}
	if strings.EqualFold(header.Get("Upgrade"), "websocket") {
		return nil, nil, key, unbuffered("An upgrade to WebSocket", "Send it without an idempotency key.")
	}
	target, err := kong.Request.GetPathWithQuery()
	if err != nil {
		return nil, nil, key, err
	}
	parsed, err := url.ParseRequestURI(target)
	if err != nil {
		return nil, nil, key, idempotency.ErrRequestUnreadable.Because(errors.New("onlyonce: the request's path cannot be parsed"))
	}
	if body, err = requestBody(kong, header, x.edge.MaxRequestBytes()); err != nil {
		return nil, nil, key, err
	}
	r = &http.Request{Method: method, URL: parsed, RequestURI: target, Header: header, Host: header.Get("Host")}
	return r, body, key, nil
}
