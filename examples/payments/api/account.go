package api

import (
	"context"
	"crypto/sha256"
	"net/http"
	"strings"
)

// Tokens tells whose a bearer token is. It keeps digests alone: neither a memory dump nor the time that a lookup takes tells
// a token.
type Tokens struct {
	accounts map[[sha256.Size]byte]string
}

// NewTokens takes a map from token to account.
func NewTokens(accounts map[string]string) Tokens {
	byDigest := make(map[[sha256.Size]byte]string, len(accounts))
	for token, account := range accounts {
		byDigest[sha256.Sum256([]byte(token))] = account
	}
	return Tokens{byDigest}
}

type accountKey struct{}

// Authenticate returns the request with its account in the context, where AccountOf finds it.
func (t Tokens) Authenticate(r *http.Request) (*http.Request, error) {
	headers := r.Header.Values("Authorization")
	if len(headers) != 1 {
		return nil, errUnauthenticated
	}
	scheme, token, _ := strings.Cut(headers[0], " ")
	account, known := t.accounts[sha256.Sum256([]byte(token))]
	if !known || !strings.EqualFold(scheme, "Bearer") {
		return nil, errUnauthenticated
	}
	return r.WithContext(context.WithValue(r.Context(), accountKey{}, account)), nil
}

// AccountOf returns the authenticated account.
func AccountOf(ctx context.Context) string {
	account, _ := ctx.Value(accountKey{}).(string)
	return account
}

// Scope is the idempotency scope: the account, from the authenticated identity alone. Two accounts may use one key.
func Scope(r *http.Request) (string, error) {
	if account := AccountOf(r.Context()); account != "" {
		return account, nil
	}
	return "", errUnauthenticated
}
