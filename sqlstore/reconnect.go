package sqlstore

import (
	"context"
	"errors"

	"github.com/onlyonce/onlyonce/idempotency"
)

// retried does what comes before the handler runs, again where a fresh connection may cure it.
func retried[T any](ctx context.Context, s *Store, do func() (T, error)) (T, error) {
	for tries := 0; ; tries++ {
		result, err := do()
		if err == nil {
			return result, nil
		}
		if !s.again(ctx, err, tries) {
			var none T
			return none, refusedBy(err)
		}
	}
}

// again reports whether what failed before the handler ran is to be tried on another connection. tries counts from 0.
// A restart of the database leaves the pool full of dead connections, which are found out one at a time and cost
// nothing: the client shall not hear of any of them. Where not even a connection can be made, it is tried once more.
func (s *Store) again(ctx context.Context, err error, tries int) bool {
	if ctx.Err() != nil || !worthAnotherTry(err) {
		return false
	}
	if refused := (connectError{}); s.db == nil || errors.As(err, &refused) {
		return tries == 0
	}
	return tries <= s.db.Stats().OpenConnections
}

// worthAnotherTry reports whether an error before the handler ran may be gone on another connection.
func worthAnotherTry(err error) bool {
	var own *idempotency.Error
	if errors.As(err, &own) {
		return false
	}
	switch code(err) {
	case "", // the connection, not the server
		"57P01", "57P02", "57P03", // the server is shutting down, crashed, or starts
		"25P03", "25P04", // it ended an idle session
		"0A000", // cached plan must not change result type
		"26000": // what was prepared is gone: DISCARD ALL, or DEALLOCATE ALL
		return true
	}
	return false
}
