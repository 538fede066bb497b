// Package stack tests all of it together: net/http, the middleware, the engine and the store, over real sockets, in processes
// that can be killed, on a real PostgreSQL that can be broken. It holds tests only.
//
// The tables of the payments in these tests have no unique constraint that knows of idempotency keys: what is done twice
// is there twice, and is counted.
package stack
