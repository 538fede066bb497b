// Package orm shows the transaction of a protected handler in the hands of those who usually begin their own: sqlx, sqlc, GORM, Bun and
// ent. Each folder writes the same payment by its own means on sqlstore.Tx(ctx), so that the payment and the response that is
// kept for its idempotency key are one commit.
package orm
