package proxy

import "github.com/onlyonce/onlyonce/idempotency"

// policy decides by the response what becomes of the key. An answer of the proxy's own frees it, or leaves it to its lease if it is held, but for one
// that stands for the upstream's.
func (r *route) policy(response idempotency.Response, err error) idempotency.Outcome {
	if err != nil {
		return idempotency.DefaultPolicy(response, err)
	}
	if own, kept := own(response.Header); own {
		if kept {
			return idempotency.Complete
		}
		return idempotency.Release
	}
	return r.outcome(response.Status)
}

// outcome decides by an upstream's status: a status before a class of them, and what is configured before the contract.
func (r *route) outcome(status int) idempotency.Outcome {
	kept, keptExactly := in(status, r.keep)
	released, releasedExactly := in(status, r.release)
	if unknown, exactly := in(status, r.unknownStatuses); unknown {
		released, releasedExactly = true, releasedExactly || exactly
	}
	switch {
	case released && (releasedExactly || !keptExactly):
		return idempotency.Release
	case kept:
		return idempotency.Complete
	}
	return idempotency.DefaultPolicy(idempotency.Response{Status: status}, nil)
}
