-- +goose Up
-- Fixed-width columns first, so that no row pays for alignment; a NULL costs one bit.
-- state is pending or completed; a completed row has status, completed_at and expires_at, a pending one never expires. Readers
-- check that, and not the table: a CHECK would be evaluated at each insert, for what nobody writes.
-- COLLATE "C": keys are compared as bytes, never by a locale whose rules an operating system's upgrade may change.
CREATE TABLE idempotency_keys (
    created_at     timestamptz NOT NULL,
    completed_at   timestamptz,
    expires_at     timestamptz,
    leased_until   timestamptz,
    attempt        integer     NOT NULL DEFAULT 1,
    status         smallint,
    scope          text        COLLATE "C" NOT NULL,
    key            text        COLLATE "C" NOT NULL,
    state          text        COLLATE "C" NOT NULL,
    fingerprint    bytea       NOT NULL,
    headers        bytea,
    body           bytea,
    recovery_point text,
    steps          bytea,
    request        bytea,
    owner          bytea,
    completions    integer,
    last_error     text,
    -- The scope comes first: a table distributed by scope keeps a request on one shard.
    PRIMARY KEY (scope, key)
);

-- The reaper's path: completed rows in the order in which they expire. A pending row never expires.
CREATE INDEX idempotency_keys_expires_at ON idempotency_keys (expires_at) WHERE state = 'completed';

-- The completer's path. Not on leased_until: moving a lease must stay a HOT update.
CREATE INDEX idempotency_keys_pending ON idempotency_keys (created_at) WHERE state = 'pending';

-- +goose Down
DROP TABLE idempotency_keys;
