package api

import (
	"context"
	"crypto/sha256"
	"net/http"
	"strings"

	"github.com/onlyonce/onlyonce/idempotency"
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
//
// A request that the completer makes again carries no token, since none is stored. Its account is the scope of its key: that is
// whom it was authenticated as when it came.
func (t Tokens) Authenticate(r *http.Request) (*http.Request, error) {
	if pending, ok := idempotency.Resuming(r.Context()); ok {
		return withAccount(r, pending.Key.Scope), nil
	}
	headers := r.Header.Values("Authorization")
	if len(headers) != 1 {
		return nil, errUnauthenticated
	}
	scheme, token, _ := strings.Cut(headers[0], " ")
	account, known := t.accounts[sha256.Sum256([]byte(token))]
	if !known || !strings.EqualFold(scheme, "Bearer") {
		return nil, errUnauthenticated
	}
	return withAccount(r, account), nil
}

func withAccount(r *http.Request, account string) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), accountKey{}, account))
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
