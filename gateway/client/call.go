package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/onlyonce/onlyonce/gateway/internal/api"
	"github.com/onlyonce/onlyonce/idempotency"
)

// errSent says that a call may have arrived, and that no reply to it has.
var errSent = errors.New("client: the call may have arrived, and was not answered")

const (
	firstPause   = 20 * time.Millisecond
	longestPause = time.Second
)

// call sends a request until it is answered, with as much patience as there is. Every call may be repeated: the owner token in it makes the second
// one the same as the first. What the service answers for certain is returned, be it a problem; lost says that an earlier try may have arrived, too.
func (c *Client) call(ctx context.Context, path string, key idempotency.Key, of request) (answered *reply, lost bool, err error) {
	if err := key.Check(); err != nil {
		return nil, false, err
	}
	if strings.Trim(key.Scope, " ") != key.Scope {
		return nil, false, &idempotency.Error{Code: idempotency.CodeScopeMissing, Detail: "The scope begins or ends with a space, which a header cannot."}
	}
	ctx, cancel := context.WithTimeout(ctx, c.config.Patience)
	defer cancel()
	body := of.encode()
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		var sent bool
		answered, sent, err = c.try(ctx, path, key.Scope, body)
		if err == nil && !answered.uncertain() {
			return answered, lost, nil
		}
		if err == nil {
			err = fmt.Errorf("client: answered by status %d, %w", answered.status, errUncertain)
		}
		lost = lost || sent
		if !rest(ctx, pause) {
			break
		}
	}
	if lost {
		err = fmt.Errorf("%w: %w", errSent, err)
	}
	return nil, lost, idempotency.ErrStoreUnavailable.Because(err)
}

var errUncertain = errors.New("which says nothing of what has happened")

// rest waits for about pause, and reports whether there is time for another try after that.
func rest(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause/2 + rand.N(pause/2))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}

// try sends a request once. Nothing of it was sent if there was no connection for it.
func (c *Client) try(ctx context.Context, path, scope string, body []byte) (answered *reply, sent bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	var connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	target := *c.base
	target.Path += path
	target.RawQuery = url.Values{api.BodyEncoding: {api.Base64}}.Encode()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), bytes.NewReader(body))
	if err != nil {
		return nil, false, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(api.Scope, scope)
	if c.config.Token != "" {
		r.Header.Set("Authorization", "Bearer "+c.config.Token)
	}
	response, err := c.http.Do(r)
	if err != nil {
		return nil, connected.Load(), err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, c.config.MaxResponseBytes+1))
	if err != nil {
		return nil, true, err
	}
	if int64(len(content)) > c.config.MaxResponseBytes {
		return nil, true, errors.New("client: the answer is longer than Config.MaxResponseBytes")
	}
	return &reply{response.StatusCode, response.Header, content}, true, nil
}
