-- +goose Up
-- How many keys a scope has pending, without a look at its completed ones (idempotency.Config.MaxPendingPerScope). Rows that are
-- never pending are not in it, and moving a lease stays a HOT update. It is built under a lock that keeps writers out: on a large
-- table create it before, by this name, with CREATE INDEX CONCURRENTLY. What a CREATE INDEX CONCURRENTLY has left that failed is no
-- index, and is made anew.
-- +goose StatementBegin
DO $$
BEGIN
	IF EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('idempotency_keys_pending_scope') AND NOT indisvalid) THEN
		DROP INDEX idempotency_keys_pending_scope;
	END IF;
END
$$;
-- +goose StatementEnd
CREATE INDEX IF NOT EXISTS idempotency_keys_pending_scope ON idempotency_keys (scope) WHERE state = 'pending';

-- +goose Down
DROP INDEX idempotency_keys_pending_scope;
