-- Makes one payment, once for its key:
--
--   psql "$DATABASE_URL" -X -q -f pay.sql -v account=alice -v amount=10 -v key=8e03978e
--
-- and prints the key, the response's status and its body, or "in progress": then run it again. An error has rolled everything back.
\set ON_ERROR_STOP on
\pset format unaligned
\pset tuples_only on
SELECT idempotency_fingerprint('POST', '/payments', '', 'application/json', convert_to('{"amount": ' || :'amount' || '}', 'UTF8')) AS fingerprint \gset

BEGIN;
SELECT outcome = 'execute' AS execute, outcome = 'replay' AS replay, outcome, status, convert_from(body, 'UTF8') AS body
FROM idempotency_begin(:'account', :'key', :'fingerprint') \gset
\if :execute
    INSERT INTO payments (account, amount) VALUES (:'account', :'amount') RETURNING '{"payment": ' || id || '}' AS body \gset
    \set status 201
    SELECT idempotency_complete(:'account', :'key', :'fingerprint', :status, E'Content-Type: application/json\r\n', convert_to(:'body', 'UTF8')) \g /dev/null
\endif
COMMIT;

-- Not before the COMMIT: until then it may still be undone.
SELECT :'execute'::boolean OR :'replay'::boolean AS answered \gset
\if :answered
    \echo :key :status :body
\else
    \echo :key :outcome
\endif
