package idempotency

import "fmt"

// Transactional is a [Store] that says whether it keeps the promise that needs a transaction. One that does not say is taken for one
// that does not. Config.RequireTransactional asks it, once, in [New].
type Transactional interface {
	Store

	// Transactional reports whether what a handler writes by the context of its attempt is committed together with its record, as one, and
	// rolled back where there is none to keep. Where it is not, a crash between a handler's effect and its record has the next attempt
	// repeat the effect. The answer is always the same.
	Transactional() bool
}

// checkTransactional says that store is not Transactional.
func checkTransactional(store Store) error {
	if able, ok := store.(Transactional); ok && able.Transactional() {
		return nil
	}
	return fmt.Errorf("idempotency: Config.RequireTransactional is set, and %T does not commit a handler's writes together with its response, so that a crash between "+
		"the two would repeat the writes: use pgstore, or leave it unset where that is harmless", store)
}
