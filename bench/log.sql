-- Bytes of write-ahead log that a completed key costs, by the indexes that its table has:
--     bin/withpostgres -- sh -c 'psql "$DATABASE_URL" -qAt -f bench/log.sql'
SET client_min_messages = warning;
CREATE SCHEMA onlyonce_log;
SET search_path = onlyonce_log;
CREATE TABLE heap (created_at timestamptz NOT NULL, completed_at timestamptz, expires_at timestamptz, leased_until timestamptz,
    attempt integer NOT NULL DEFAULT 1, status smallint, scope text COLLATE "C" NOT NULL, key text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL, fingerprint bytea NOT NULL, headers bytea, body bytea, recovery_point text, steps bytea,
    request bytea, owner bytea, completions integer, last_error text);
CREATE TABLE primary_key (LIKE heap INCLUDING ALL, PRIMARY KEY (scope, key));
CREATE TABLE expires_at (LIKE primary_key INCLUDING ALL);
CREATE INDEX ON expires_at (expires_at);
CREATE TABLE expires_at_and_partial (LIKE expires_at INCLUDING ALL);
CREATE INDEX ON expires_at_and_partial (scope, created_at) WHERE state = 'pending';
CREATE TABLE expires_at_scope (LIKE primary_key INCLUDING ALL);
CREATE INDEX ON expires_at_scope (expires_at, scope);

CREATE FUNCTION fill(name text, n int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..n LOOP
        EXECUTE format($sql$INSERT INTO %I (scope, key, state, fingerprint, status, headers, body, created_at, completed_at, expires_at)
            VALUES ('account-4711', gen_random_uuid()::text, 'completed', '\x01' || sha256('request'), 201,
            E'Content-Type: application/json\r\nLocation: /api/v1/payments/123456\r\n',
            '{"id":123456,"amount":100,"currency":"USD","status":"succeeded"}',
            clock_timestamp(), clock_timestamp(), clock_timestamp() + interval '24 hours')$sql$, name);
    END LOOP;
END $$;
CREATE FUNCTION measured(name text) RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
    began pg_lsn;
BEGIN
    PERFORM fill(name, 3000);
    began := pg_current_wal_insert_lsn();
    PERFORM fill(name, 10000);
    RETURN round(pg_wal_lsn_diff(pg_current_wal_insert_lsn(), began) / 10000, 1);
END $$;
CHECKPOINT;
SELECT name, measured(name) FROM unnest(ARRAY['heap', 'primary_key', 'expires_at', 'expires_at_and_partial', 'expires_at_scope']) name;
DROP SCHEMA onlyonce_log CASCADE;
