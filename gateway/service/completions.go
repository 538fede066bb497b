package service

import (
	"context"
	"net/http"
	"time"

	"github.com/onlyonce/onlyonce/gateway/internal/api"
	"github.com/onlyonce/onlyonce/idempotency"
)

// respond stores a response by POST /response.
func (s *service) respond(ctx context.Context, c call) (answer, error) {
	m, err := c.members(s, api.Key, api.RequestFingerprint, api.ResponseMember, api.LockMetaData)
	if err != nil {
		return answer{}, err
	}
	if m[api.LockMetaData] == nil {
		return answer{}, invalid(api.LockMetaData + " is missing: give the lock_value in it.")
	}
	lock, err := readMembers(m[api.LockMetaData], api.LockValue)
	if err != nil {
		return answer{}, err
	}
	owner, err := lock.owner()
	if err != nil {
		return answer{}, err
	}
	return s.settle(ctx, c, m, owner, true, s.config.Retention)
}

// complete stores a response by POST /v1/completions.
func (s *service) complete(ctx context.Context, c call) (answer, error) {
	m, err := c.members(s, api.Key, api.LockValue, api.RequestFingerprint, api.ResponseMember, api.Retention)
	if err != nil {
		return answer{}, err
	}
	owner, err := m.owner()
	if err != nil {
		return answer{}, err
	}
	retention, err := m.milliseconds(api.Retention, s.config.Retention, s.config.MaxRetention)
	if err != nil {
		return answer{}, err
	}
	return s.settle(ctx, c, m, owner, false, retention)
}

func (s *service) settle(ctx context.Context, c call, m members, owner idempotency.OwnerToken, fingerprinted bool, retention time.Duration) (answer, error) {
	key, err := m.key(c.scope)
	if err != nil {
		return answer{}, err
	}
	identity, err := m.identity(s, fingerprinted)
	if err != nil {
		return answer{}, err
	}
	response, err := readResponse(m[api.ResponseMember])
	if err != nil {
		return answer{}, err
	}
	again, err := s.leaser.Settle(ctx, key, owner, &idempotency.Record{Fingerprint: identity.Fingerprint, Response: response}, retention)
	switch {
	case err != nil:
		return answer{}, err
	case again:
		return outcome(http.StatusOK, api.Repeated), nil
	default:
		return outcome(http.StatusCreated, api.Stored), nil
	}
}

func outcome(status int, word string) answer {
	return answer{status, []byte(`{"outcome":"` + word + `"}`), word}
}

// release ends a loan as if it had not been.
func (s *service) release(ctx context.Context, c call) (answer, error) {
	m, err := c.members(s, api.Key, api.LockValue)
	if err != nil {
		return answer{}, err
	}
	key, owner, err := loan(c.scope, m)
	if err == nil {
		err = s.leaser.Free(ctx, key, owner)
	}
	return outcome(http.StatusOK, api.Released), err
}

// extend has a lease end later, or sooner.
func (s *service) extend(ctx context.Context, c call) (answer, error) {
	m, err := c.members(s, api.Key, api.LockValue, api.LockDuration)
	if err != nil {
		return answer{}, err
	}
	key, owner, err := loan(c.scope, m)
	if err != nil {
		return answer{}, err
	}
	lease, err := m.milliseconds(api.LockDuration, s.config.Lease, s.config.MaxLease)
	if err == nil {
		err = s.leaser.Extend(ctx, key, owner, lease)
	}
	return outcome(http.StatusOK, api.Extended), err
}

func loan(scope string, m members) (key idempotency.Key, owner idempotency.OwnerToken, err error) {
	if key, err = m.key(scope); err == nil {
		owner, err = m.owner()
	}
	return key, owner, err
}
