// Package redisstore keeps idempotency keys in Redis (7 or later, or a server that speaks as it does), by go-redis: for services whose
// effects are not in PostgreSQL.
//
// It holds the contract of idempotency.Store, and promises less than pgstore does, because nothing of a handler's work is in Redis:
//
//   - One attempt at a time works on a key, as long as its process is alive to renew its lease, and Redis keeps what it was told.
//   - A completed key is replayed, with the same bytes, for as long as it is retained.
//   - A crash between a handler's effect and the completion of its key repeats the effect, by the first retry after the lease. So does a
//     process that is stopped for longer than its lease while somebody retries; whoever wakes up then stores nothing, but what it
//     had done is done.
//   - What Redis forgets (a failover to a replica that had not got it yet, a restart without a log on disk, an eviction) runs again.
//
// Where that is not enough, idempotency.Config.RequireTransactional makes an engine over this store an error, and pgstore is the store to
// use. [Store.Check] refuses servers that would forget more than has to be.
//
// A key is one Redis hash, with its claim, its recovery points or its response in it, and every step of its life is one Lua script, which
// is one round trip. What decides is a random value that the hash holds for the attempt that works on it (the claim, as SET NX PX
// would make it), and the owner token of its recovery points, which changes with each of them: a script that finds another one than its own
// changes nothing. Only Redis's own clock counts.
package redisstore
