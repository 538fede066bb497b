-- +goose Up
-- Two indexes beside the primary key, not three, and one of them without a predicate: each costs every payment, a predicate as much as
-- an entry (docs/performance-notes.md). They are built under a lock that keeps everybody out, taken at once, since one that is raised later
-- is a deadlock with payments: on a large table create them before, by these names, with CREATE INDEX CONCURRENTLY. What
-- a CREATE INDEX CONCURRENTLY has left that failed is no index, and is made anew.
LOCK TABLE idempotency_keys IN ACCESS EXCLUSIVE MODE;
-- +goose StatementBegin
DO $$
DECLARE
	invalid regclass;
BEGIN
	FOR invalid IN SELECT indexrelid FROM pg_index WHERE NOT indisvalid
		AND indexrelid IN (to_regclass('idempotency_keys_reap'), to_regclass('idempotency_keys_resume')) LOOP
		EXECUTE format('DROP INDEX %s', invalid);
	END LOOP;
END
$$;
-- +goose StatementEnd
-- The reaper's path: keys in the order in which they expire. A pending one never does, and has no expires_at.
CREATE INDEX IF NOT EXISTS idempotency_keys_reap ON idempotency_keys (expires_at);
-- The completer's path, and how many keys a scope has pending, without a look at its completed ones. Not on leased_until: moving
-- a lease must stay a HOT update.
CREATE INDEX IF NOT EXISTS idempotency_keys_resume ON idempotency_keys (scope, created_at) WHERE state = 'pending';
DROP INDEX idempotency_keys_expires_at;
DROP INDEX idempotency_keys_pending;
DROP INDEX idempotency_keys_pending_scope;

-- +goose Down
LOCK TABLE idempotency_keys IN ACCESS EXCLUSIVE MODE;
CREATE INDEX idempotency_keys_expires_at ON idempotency_keys (expires_at) WHERE state = 'completed';
CREATE INDEX idempotency_keys_pending ON idempotency_keys (created_at) WHERE state = 'pending';
CREATE INDEX idempotency_keys_pending_scope ON idempotency_keys (scope) WHERE state = 'pending';
DROP INDEX idempotency_keys_reap;
DROP INDEX idempotency_keys_resume;
