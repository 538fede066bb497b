package psp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Client talks to a provider. It sends each request once: whether and when to send it again is for the caller, who knows
// what it has stored.
type Client struct {
	baseURL string
	http    *http.Client
}

// NewClient takes the provider's URL, such as http://127.0.0.1:8081, and a client, which it copies; nil stands for one that gives up
// after 30 seconds. Redirects are not followed: a POST would become a GET.
func NewClient(baseURL string, client *http.Client) *Client {
	own := http.Client{Timeout: 30 * time.Second}
	if client != nil {
		own = *client
	}
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{strings.TrimRight(baseURL, "/"), &own}
}

// Charge takes money, once for all calls with this key and this request. Its error is a *Declined, a *Rejected or an *Unknown.
func (c *Client) Charge(ctx context.Context, key string, request ChargeRequest) (Charge, error) {
	if !validKey(key) {
		return Charge{}, &Rejected{http.StatusBadRequest, codeInvalidKey, detailInvalidKey}
	}
	body, err := json.Marshal(request)
	if err != nil {
		return Charge{}, &Unknown{err}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.baseURL+"/v1/charges", bytes.NewReader(body))
	if err != nil {
		return Charge{}, &Unknown{withoutURL(err)}
	}
	// http.Transport takes an Idempotency-Key as leave to send a request again when a reused connection breaks. Without GetBody
	// it cannot, and the caller learns that the outcome is unknown.
	r.GetBody = nil
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", key)

	status, answer, err := c.do(r, maxAnswer)
	if err != nil {
		return Charge{}, err
	}
	var charge Charge
	if status != http.StatusCreated || json.Unmarshal(answer, &charge) != nil || charge.ID == "" || charge.Status != Succeeded {
		return Charge{}, &Unknown{fmt.Errorf("the provider answered %d, but not with a charge", status)}
	}
	return charge, nil
}

// Find asks for the charge that was made with this key. That there is none is the truth of a moment: a request that is still
// under way can make it. To know for good, call Charge with the same key and request. Its error is a *Rejected or an *Unknown.
func (c *Client) Find(ctx context.Context, key string) (charge Charge, found bool, err error) {
	recorded, err := c.charges(ctx, "?idempotency_key="+url.QueryEscape(key), maxAnswer)
	if err != nil || len(recorded) == 0 {
		return Charge{}, false, err
	}
	if len(recorded) > 1 || recorded[0].IdempotencyKey != key {
		return Charge{}, false, &Unknown{errors.New("the provider answered with charges that were not asked for")}
	}
	return recorded[0].Charge, true, nil
}

// List returns all charges in the order in which they were made. Its error is a *Rejected or an *Unknown.
func (c *Client) List(ctx context.Context) ([]RecordedCharge, error) {
	return c.charges(ctx, "", maxList)
}

func (c *Client) charges(ctx context.Context, query string, atMost int64) ([]RecordedCharge, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.baseURL+"/v1/charges"+query, nil)
	if err != nil {
		return nil, &Unknown{withoutURL(err)}
	}
	status, answer, err := c.do(r, atMost)
	if err != nil {
		return nil, err
	}
	var list chargeList
	if status != http.StatusOK || json.Unmarshal(answer, &list) != nil || list.Charges == nil {
		return nil, &Unknown{fmt.Errorf("the provider answered %d, but not with charges", status)}
	}
	return list.Charges, nil
}

const (
	maxAnswer = 64 << 10
	maxList   = 64 << 20
)

// do returns any answer below 400, and makes an error of all else.
func (c *Client) do(r *http.Request, atMost int64) (status int, answer []byte, err error) {
	response, err := c.http.Do(r)
	if err != nil {
		return 0, nil, &Unknown{withoutURL(err)}
	}
	defer func() { _ = response.Body.Close() }()
	answer, err = io.ReadAll(io.LimitReader(response.Body, atMost+1)) // to the end, or the connection is not used again
	if err != nil {
		return 0, nil, &Unknown{fmt.Errorf("the answer broke off: %w", err)}
	}
	if int64(len(answer)) > atMost {
		return 0, nil, &Unknown{fmt.Errorf("the answer is longer than %d bytes", atMost)}
	}
	if response.StatusCode >= http.StatusBadRequest {
		return 0, nil, failureOf(response.StatusCode, answer)
	}
	return response.StatusCode, answer, nil
}

// withoutURL keeps a key that was asked for out of the error.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}
