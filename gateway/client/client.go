// Package client lends keys from an onlyonced: it is an idempotency.Leaser over HTTP.
package client

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/onlyonce/onlyonce/gateway/internal/api"
	"github.com/onlyonce/onlyonce/idempotency"
)

// Config configures [New]. The zero value works with a service that lets everybody in.
type Config struct {
	// Token is the bearer token.
	Token string
	// TLS says whom to trust and which certificate to show.
	TLS *tls.Config
	// Timeout bounds one try of a call. Default: 5 seconds.
	Timeout time.Duration
	// Patience bounds a call with all of its tries: one whose reply was lost is sent again, with the same owner token. Default: 15 seconds.
	Patience time.Duration
	// MaxResponseBytes bounds what is read of an answer, and so what is stored: a response in base64 is a third longer. Default: 16 MiB.
	MaxResponseBytes int64
}

// Client implements [idempotency.Leaser] by a service. Any number of processes may have one.
//
// It lends keys and reads what was stored, and does nothing else: Claim and Begin are errors (gateway/leased has both, on any Leaser), and Reap
// does nothing, since the service itself does. The service compares fingerprints, so that Identity.Matches is not asked; they are kept as they
// are, so that gateways with a client and gateways on the service's own database understand each other.
//
// A scope that begins or ends with a space cannot be sent. Of a stored header that is not UTF-8 the bytes that are not are replaced.
type Client struct {
	base   *url.URL
	config Config
	http   *http.Client
}

var _ idempotency.Leaser = (*Client)(nil)

// New returns a client of the service at baseURL, or an error that says what is wrong with it. It touches no network; call [Client.Check] at start.
func New(baseURL string, config Config) (*Client, error) {
	base, err := url.Parse(baseURL)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" || base.User != nil || base.RawQuery != "" || base.Fragment != "" {
		return nil, errors.New("client: the service's URL cannot be used: " +
			"give https://host:port, a path in front of the service's own if there is one, and the token apart")
	}
	if config.Timeout < 0 || config.Patience < 0 || config.MaxResponseBytes < 0 {
		return nil, errors.New("client: Config.Timeout, Config.Patience and Config.MaxResponseBytes must be positive, or 0 for the default")
	}
	if strings.ContainsAny(config.Token, " \t\r\n") {
		return nil, errors.New("client: Config.Token has white space in it: cut off what follows the token")
	}
	config.Timeout = cmp.Or(config.Timeout, 5*time.Second)
	config.Patience = cmp.Or(config.Patience, 15*time.Second)
	config.MaxResponseBytes = cmp.Or(config.MaxResponseBytes, 16<<20)
	config.TLS = config.TLS.Clone() // which http.Transport writes to
	base.Path, base.RawPath = strings.TrimSuffix(base.Path, "/"), ""
	return &Client{base, config, &http.Client{
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: config.Timeout, KeepAlive: 10 * time.Second}).DialContext,
			TLSClientConfig:     config.TLS,
			TLSHandshakeTimeout: config.Timeout,
			ForceAttemptHTTP2:   true,
			HTTP2:               &http.HTTP2Config{SendPingTimeout: config.Timeout, PingTimeout: config.Timeout}, // all calls share one connection: find out that it is dead
			MaxIdleConns:        128,
			MaxIdleConnsPerHost: 128,
			IdleConnTimeout:     time.Minute,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the token is for this service
	}}, nil
}

// Close gives idle connections back.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Name says where the service is, for logs.
func (c *Client) Name() string { return "the service at " + c.base.String() }

// checked is a scope that nobody has: who may use none but others is known all the same.
var checked = idempotency.Key{Scope: "onlyonce check", Value: "onlyonce check"}

// Check asks the service for a key, and with that its store. It says what to do if it is not answered.
func (c *Client) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	reply, _, err := c.try(ctx, api.Lookups, checked.Scope, request{Key: checked.Value}.encode())
	if err != nil {
		return idempotency.ErrStoreUnavailable.Because(fmt.Errorf("client: the service cannot be reached; check its URL, its certificate, and that it runs: %w", err))
	}
	if code := reply.code(); reply.status == http.StatusOK || code == api.KeyNotFound || code == api.ScopeForbidden {
		return nil
	}
	return reply.problem()
}

// Acquire lends a key. One whose reply is lost for good may be lent to terms.Owner nevertheless, for its lease.
func (c *Client) Acquire(ctx context.Context, key idempotency.Key, terms idempotency.Terms) (*idempotency.Lease, *idempotency.Record, error) {
	if err := terms.Check(); err != nil {
		return nil, nil, err
	}
	reply, _, err := c.call(ctx, api.Claims, key, request{
		Key: key.Value, Fingerprint: fingerprint(terms.Fingerprint), LockDuration: milliseconds(terms.Lease),
		LockValue: terms.Owner.String(), Remember: milliseconds(terms.Remember),
	})
	if err != nil {
		return nil, nil, err
	}
	switch reply.status {
	case http.StatusCreated:
		attempt, err := reply.attempt()
		if err != nil {
			return nil, nil, err
		}
		return &idempotency.Lease{Attempt: attempt}, nil, nil
	case http.StatusOK:
		record, err := reply.record()
		return nil, record, err
	default:
		return nil, nil, reply.problem()
	}
}

// Settle ends the loan with a record. Where one try may have arrived and none was answered by what became of the record, it is
// [idempotency.ErrOutcomeUnknown]: that the service refuses another try says nothing about that one.
func (c *Client) Settle(
	ctx context.Context, key idempotency.Key, owner idempotency.OwnerToken, record *idempotency.Record, retention time.Duration,
) (again bool, err error) {
	if owner == (idempotency.OwnerToken{}) {
		return false, idempotency.ErrLeaseLost
	}
	response, err := encodeResponse(record.Response)
	if err != nil {
		return false, err
	}
	if answerBytes(record.Response) > c.config.MaxResponseBytes {
		return false, idempotency.ErrResponseTooLarge.Because(errors.New("client: nobody with this Config.MaxResponseBytes could read the response again: raise it"))
	}
	reply, lost, err := c.call(ctx, api.Completions, key, request{
		Key: key.Value, Fingerprint: fingerprint(record.Fingerprint), LockValue: owner.String(), Response: response, Retention: milliseconds(retention),
	})
	switch {
	case errors.Is(err, errSent):
		return false, idempotency.ErrOutcomeUnknown.Because(errors.Unwrap(err)) // whose own code says that nothing has happened
	case err != nil:
		return false, err
	case reply.says(http.StatusCreated, api.Stored):
		return false, nil
	case reply.says(http.StatusOK, api.Repeated):
		return !lost, nil // else an earlier try of this call has stored it
	case reply.code() == api.LockLost:
		return false, idempotency.ErrLeaseLost
	case lost:
		return false, idempotency.ErrOutcomeUnknown.Because(fmt.Errorf("%w, and the next try was answered by status %d", errSent, reply.status))
	case reply.status == http.StatusRequestEntityTooLarge:
		return false, idempotency.ErrResponseTooLarge.Because(errors.New("client: the service takes no response of this size: raise its -max-request-bytes"))
	default:
		return false, reply.problem()
	}
}

// Extend moves the end of the lease.
func (c *Client) Extend(ctx context.Context, key idempotency.Key, owner idempotency.OwnerToken, lease time.Duration) error {
	if owner == (idempotency.OwnerToken{}) {
		return idempotency.ErrLeaseLost
	}
	reply, _, err := c.call(ctx, api.Extensions, key, request{Key: key.Value, LockValue: owner.String(), LockDuration: milliseconds(lease)})
	if err == nil && !reply.says(http.StatusOK, api.Extended) {
		err = reply.problem()
	}
	return err
}

// Free ends the loan as if it had not been. Where the reply to a try was lost and the next one finds that the key is not owner's, the
// key is taken for freed.
func (c *Client) Free(ctx context.Context, key idempotency.Key, owner idempotency.OwnerToken) error {
	if owner == (idempotency.OwnerToken{}) {
		return idempotency.ErrLeaseLost
	}
	reply, lost, err := c.call(ctx, api.Releases, key, request{Key: key.Value, LockValue: owner.String()})
	if err == nil && !reply.says(http.StatusOK, api.Released) && (!lost || reply.code() != api.LockLost) {
		err = reply.problem()
	}
	return err
}

// Lookup returns the record of key, or nil.
func (c *Client) Lookup(ctx context.Context, key idempotency.Key) (*idempotency.Record, error) {
	reply, _, err := c.call(ctx, api.Lookups, key, request{Key: key.Value})
	switch {
	case err != nil:
		return nil, err
	case reply.status == http.StatusOK:
		return reply.record()
	case reply.code() == api.KeyNotFound:
		return nil, nil
	default:
		return nil, reply.problem()
	}
}

var errLeasesOnly = idempotency.ErrInternal.Because(errors.New("client: a service lends keys and claims none: put gateway/leased in front of the client"))

// Claim returns an error: see [Client].
func (c *Client) Claim(context.Context, idempotency.Key) (idempotency.Attempt, *idempotency.Record, error) {
	return nil, nil, errLeasesOnly
}

// Begin returns an error: see [Client].
func (c *Client) Begin(context.Context) (idempotency.Attempt, error) { return nil, errLeasesOnly }

// Reap does nothing: the service itself deletes what is over.
func (c *Client) Reap(context.Context, int) (idempotency.Reaped, error) {
	return idempotency.Reaped{}, nil
}
