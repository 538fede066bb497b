package plugin

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/Kong/go-pdk"

	"github.com/onlyonce/onlyonce/idempotency"
)

// scope says whose a request's key is.
type scope struct{ source, header string }

// Where a scope comes from. All but the header begin with the source's name, so that a route that goes by consumers and one that goes by
// credentials never meet; the header is as it stands, so that the scopes of other gateways can be had.
const (
	byConsumer   = "consumer"
	byUsername   = "username"
	byCredential = "credential"
	byHeader     = "header"
	byNobody     = "shared"
)

func (s *scope) check() error {
	if s.source == "" {
		s.source = byConsumer
	}
	switch s.source {
	case byConsumer, byUsername, byCredential, byNobody:
		if s.header != "" {
			return fmt.Errorf("scope_header is set, and scope_source is %q: take scope_header off, or set scope_source to header", s.source)
		}
		return nil
	case byHeader:
		if s.header == "" {
			return errors.New("scope_header is missing: name the header in which a plugin or a balancer before this one says who calls")
		}
		return nil
	}
	return fmt.Errorf("scope_source is %q: give consumer (the default), username, credential, header, or shared, which has all callers share their keys",
		s.source)
}

// of returns the scope of the request, or [idempotency.ErrScopeMissing]: nobody is let through as anonymous.
func (s *scope) of(kong *pdk.PDK, header http.Header) (string, error) {
	found := ""
	switch s.source {
	case byNobody:
		return idempotency.SharedScope, nil
	case byConsumer, byUsername:
		consumer, err := kong.Client.GetConsumer()
		if err != nil {
			return "", err
		}
		if found = consumer.Id; s.source == byUsername {
			found = consumer.Username
		}
	case byCredential:
		credential, err := kong.Client.GetCredential()
		if err != nil {
			return "", err
		}
		found = credential.Id
	case byHeader:
		values := header[s.header]
		if len(values) != 1 || values[0] == "" { // of two, nobody knows which one was checked
			return "", idempotency.ErrScopeMissing
		}
		return values[0], nil
	}
	if found == "" {
		return "", idempotency.ErrScopeMissing
	}
	return s.source + ":" + found, nil
}
