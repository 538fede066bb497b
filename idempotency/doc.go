// Package idempotency makes a handler take effect exactly once per idempotency key, and answers every retry of that key
// with the same bytes.
//
// It is the core: keys, fingerprints, the outcome policy, and an [Engine] that drives a [Store]. It imports the standard
// library only. HTTP services use it through the adapters nethttp and echo; queue consumers, jobs and webhooks through
// [Do].
//
// How strong the promise is depends on the store. With pgstore the handler's writes and the stored response are one
// PostgreSQL commit, so that no crash can separate them. With redisstore, for effects that are not in PostgreSQL, a crash between the
// two repeats the effect. With memstore the promise ends with the process. Config.RequireTransactional takes no store but those of the first
// kind.
package idempotency
