// Package stack tests all of it together: net/http, the middleware, the engine and the store, over real sockets, in processes
// that can be killed, on a real PostgreSQL that can be broken. It holds tests only.
//
// What breaks a whole database, a standby's takeover among it, is tested on clusters of the tests' own, which need server binaries.
//
// The tables of the payments in these tests have no unique constraint that knows of idempotency keys: what is done twice
// is there twice, and is counted. The card payments are those of the payments example, whose servers and provider are run as they are:
// they are killed and stopped at every statement and inside of the provider, and in a storm. A few of these cells and a small storm are
// run by default, all of them and a large one where ONLYONCE_CRASHES=all, as make crashes has it.
package stack
