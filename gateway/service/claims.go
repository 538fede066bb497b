package service

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/onlyonce/onlyonce/gateway/internal/api"
	"github.com/onlyonce/onlyonce/idempotency"
)

// lock lends a key and compares nothing. A key that is completed is not lent: its response is to be read.
func (s *service) lock(ctx context.Context, c call) (answer, error) {
	m, err := c.members(s, api.Key, api.LockDuration)
	if err != nil {
		return answer{}, err
	}
	key, err := m.key(c.scope)
	if err != nil {
		return answer{}, err
	}
	terms := idempotency.Terms{Owner: idempotency.NewOwnerToken()}
	if terms.Lease, err = m.milliseconds(api.LockDuration, s.config.Lease, s.config.MaxLease); err != nil {
		return answer{}, err
	}
	lease, _, err := s.leaser.Acquire(ctx, key, terms)
	if err != nil {
		return answer{}, err
	}
	if lease == nil {
		return answer{}, errCompleted
	}
	body, _ := json.Marshal(map[string]string{api.LockValue: terms.Owner.String()})
	return answer{http.StatusOK, body, claimed(lease)}, nil
}

// claimed is the outcome for the metrics: that an earlier owner left the key without an outcome is worth counting.
func claimed(lease *idempotency.Lease) string {
	if lease.Attempt > 1 {
		return "taken_over"
	}
	return api.Claimed
}

// claim lends a key, or answers with its response.
func (s *service) claim(ctx context.Context, c call) (answer, error) {
	asBase64, err := c.asBase64()
	if err != nil {
		return answer{}, err
	}
	m, err := c.members(s, api.Key, api.RequestFingerprint, api.LockDuration, api.LockValue, api.Remember)
	if err != nil {
		return answer{}, err
	}
	key, terms, err := s.terms(c.scope, m)
	if err != nil {
		return answer{}, err
	}
	lease, record, err := s.leaser.Acquire(ctx, key, terms)
	if err != nil {
		return answer{}, err
	}
	if lease == nil {
		body, err := appendCompleted(record, asBase64)
		return answer{http.StatusOK, body, api.Completed}, err
	}
	body, _ := json.Marshal(struct {
		Outcome   string `json:"outcome"`
		LockValue string `json:"lock_value"`
		Attempt   int    `json:"attempt"`
	}{api.Claimed, terms.Owner.String(), lease.Attempt})
	return answer{http.StatusCreated, body, claimed(lease)}, nil
}

// terms reads what a key is to be lent on.
func (s *service) terms(scope string, m members) (key idempotency.Key, terms idempotency.Terms, err error) {
	if key, err = m.key(scope); err != nil {
		return key, terms, err
	}
	if terms.Identity, err = m.identity(s, false); err != nil {
		return key, terms, err
	}
	if terms.Lease, err = m.milliseconds(api.LockDuration, s.config.Lease, s.config.MaxLease); err != nil {
		return key, terms, err
	}
	if terms.Remember, err = m.milliseconds(api.Remember, min(idempotency.DefaultRemember, s.config.MaxRetention), s.config.MaxRetention); err != nil {
		return key, terms, err
	}
	if m[api.LockValue] == nil {
		terms.Owner = idempotency.NewOwnerToken()
	} else if terms.Owner, err = m.owner(); err != nil {
		return key, terms, err
	}
	return key, terms, nil
}

// appendCompleted writes a record: its response; and, for who keeps keys with the library itself, its fingerprint and what is left of its retention.
func appendCompleted(record *idempotency.Record, asBase64 bool) ([]byte, error) {
	b := []byte(`{"outcome":"` + api.Completed + `"`)
	if record.Fingerprint != (idempotency.Fingerprint{}) {
		b = append(b, `,"stored_fingerprint":"`+api.FormatFingerprint(record.Fingerprint)+`"`...)
	}
	if left := record.Left.Milliseconds(); left > 0 {
		b = strconv.AppendInt(append(b, `,"retention_left":`...), left, 10)
	}
	b, err := appendResponse(append(b, `,"response":`...), record.Response, asBase64)
	return append(b, '}'), err
}

// read answers with the response alone.
func (s *service) read(ctx context.Context, c call) (answer, error) {
	asBase64, err := c.asBase64()
	if err != nil {
		return answer{}, err
	}
	key, err := newKey(c.scope, c.key)
	if err != nil {
		return answer{}, err
	}
	values := c.Header[api.Fingerprint]
	if len(values) != 1 || values[0] == "" {
		return answer{}, invalid("Send the request's fingerprint in one header " + api.Fingerprint + ". To read without, POST " + api.Lookups + ".")
	}
	identity, err := s.identity(values[0])
	if err != nil {
		return answer{}, err
	}
	record, err := s.find(ctx, key, identity)
	if err != nil {
		return answer{}, err
	}
	body, err := appendResponse(nil, record.Response, asBase64)
	return answer{http.StatusOK, body, api.Completed}, err
}

// lookup is read with the key where no log of paths sees it.
func (s *service) lookup(ctx context.Context, c call) (answer, error) {
	asBase64, err := c.asBase64()
	if err != nil {
		return answer{}, err
	}
	m, err := c.members(s, api.Key, api.RequestFingerprint)
	if err != nil {
		return answer{}, err
	}
	key, err := m.key(c.scope)
	if err != nil {
		return answer{}, err
	}
	identity, err := m.identity(s, false)
	if err != nil {
		return answer{}, err
	}
	record, err := s.find(ctx, key, identity)
	if err != nil {
		return answer{}, err
	}
	body, err := appendCompleted(record, asBase64)
	return answer{http.StatusOK, body, api.Completed}, err
}

func (s *service) find(ctx context.Context, key idempotency.Key, identity idempotency.Identity) (*idempotency.Record, error) {
	record, err := s.leaser.Lookup(ctx, key)
	switch {
	case err != nil:
		return nil, err
	case record == nil:
		return nil, errNotFound
	case !identity.Admits(record.Fingerprint):
		return nil, errConflict
	}
	return record, nil
}
