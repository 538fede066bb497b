-- +goose Up
-- The protocol of docs/protocol.md, with the semantics of package pgstore, for any language. All of it is the caller's: the transaction, the
-- rights, the commit. Functions whose body is one RETURN are bound to their schema when they are made; the others get a search_path of their own
-- at the end.
-- +goose StatementBegin
DO $$
DECLARE
	home text := (SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass('idempotency_keys'));
	namespace text := coalesce(current_setting('onlyonce.namespace', true), '');
BEGIN
	IF home IS NULL THEN
		RAISE EXCEPTION 'the table idempotency_keys is not there' USING HINT = 'Run the migrations of package migrations first.';
	ELSIF home <> current_schema() THEN
		RAISE EXCEPTION 'the table idempotency_keys is in another schema than these functions would be'
			USING HINT = 'Put the schema of the table first in the search_path.';
	ELSIF namespace NOT IN ('', home) THEN
		RAISE EXCEPTION 'onlyonce.namespace is neither empty nor the schema of the table'
			USING HINT = 'Set it to what the Go services that share the table have as pgstore.Config.Schema.';
	ELSIF current_setting('server_encoding') <> 'UTF8' THEN
		RAISE EXCEPTION 'the database is not in UTF8, and keys are compared as bytes of it';
	END IF;
	EXECUTE format('CREATE FUNCTION idempotency_namespace() RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN %L::text', namespace);
END
$$;
-- +goose StatementEnd

-- The number of a key's advisory lock, the same in every process and language.
CREATE FUNCTION idempotency_lock(scope text, key text, namespace text DEFAULT idempotency_namespace()) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN ('x' || encode(substr(sha256(
	E'\\x0000000e'::bytea || convert_to('onlyonce/key/1', 'UTF8')
	|| int4send(octet_length(namespace)) || convert_to(namespace, 'UTF8')
	|| int4send(octet_length(scope)) || convert_to(scope, 'UTF8')
	|| int4send(octet_length(key)) || convert_to(key, 'UTF8')), 1, 8), 'hex'))::bit(64)::bigint;

-- What tells a request from others, version 1: as the HTTP adapters in Go have it. headers are, one behind the other: a chosen header's name as Go
-- spells it, the number of its values, and those. routed_path is what is left of the path where a prefix was taken off.
-- Where method, path or a header is NULL there is no fingerprint, but NULL, which idempotency_begin refuses.
CREATE FUNCTION idempotency_fingerprint(method text, path text, query text DEFAULT '', media_type text DEFAULT '', body bytea DEFAULT '',
	headers text[] DEFAULT '{}', routed_path text DEFAULT NULL) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN E'\\x01'::bytea || sha256((
	SELECT CASE WHEN count(*) = count(part) THEN E'\\x01'::bytea || int4send(count(*)::integer)
		|| string_agg(int8send(octet_length(part)) || convert_to(part, 'UTF8'), ''::bytea ORDER BY at) END
	FROM unnest(ARRAY[method, coalesce(routed_path, path), path, coalesce(query, ''),
		lower(btrim(split_part(coalesce(media_type, ''), ';', 1), E' \t\r\n\v\f') COLLATE "C")] || coalesce(headers, '{}')) WITH ORDINALITY parts (part, at))
	|| int8send(octet_length(coalesce(body, ''))) || coalesce(body, ''));

-- The key of a foreign call, the same on every attempt, in every language.
CREATE FUNCTION idempotency_foreign_key(scope text, key text, point text) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN (SELECT encode(set_byte(set_byte(id, 6, get_byte(id, 6) & 15 | 128), 8, get_byte(id, 8) & 63 | 128), 'hex')::uuid
	FROM substr(sha256(E'\\x00000012'::bytea || convert_to('onlyonce/foreign/1', 'UTF8')
		|| int4send(octet_length(scope)) || convert_to(scope, 'UTF8')
		|| int4send(octet_length(key)) || convert_to(key, 'UTF8')
		|| int4send(octet_length(point)) || convert_to(point, 'UTF8')), 1, 16) id);

-- What idempotency_begin has noted of a key in this transaction. onlyonce.claims is local to it, and to a savepoint, as the lock is: it tells
-- whether this is the transaction that holds the key, without a look at all locks of the server. One entry a key, begun by U+001E:
--   scope key attempt owner fingerprint
-- each ended by U+001F, which no scope and no key has in it; owner is the token that the pending row carries, - where there is none, and expired where
-- there is a record whose retention is over.
-- +goose StatementBegin
CREATE FUNCTION idempotency_claim(scope text, key text, fingerprint bytea, owner bytea,
	OUT entry text, OUT attempt integer, OUT token bytea, OUT expired boolean)
LANGUAGE plpgsql STABLE AS $$
DECLARE
	claims text := coalesce(current_setting('onlyonce.claims', true), '');
	head text := E'\x1e' || scope || E'\x1f' || key || E'\x1f';
	found_at integer := strpos(claims, head);
	fields text[];
BEGIN
	entry := split_part(substr(claims, found_at + 1), E'\x1e', 1);
	fields := string_to_array(entry, E'\x1f');
	-- A text with U+001F in it goes on where the key that was begun ends.
	IF (found_at > 0 AND fields[1] = scope AND fields[2] = key) IS NOT TRUE THEN
		RAISE EXCEPTION 'this transaction has not begun the key' USING ERRCODE = 'OO002',
			HINT = 'Call idempotency_begin first, in the same transaction, and go on only where its outcome is execute. Roll this one back.';
	END IF;
	attempt := fields[3];
	expired := fields[4] = 'expired';
	IF fields[4] NOT IN ('-', 'expired') THEN
		token := decode(fields[4], 'hex');
	END IF;
	IF decode(fields[5], 'hex') IS DISTINCT FROM fingerprint THEN
		RAISE EXCEPTION 'the fingerprint is not the one that the key was begun with' USING ERRCODE = 'OO002',
			HINT = 'Give every function the same fingerprint of the request. Roll this transaction back.';
	ELSIF owner IS NOT NULL AND owner IS DISTINCT FROM token THEN
		RAISE EXCEPTION 'the owner token is not the one that this transaction has the key by' USING ERRCODE = 'OO003',
			HINT = 'Give the token that idempotency_begin or the last idempotency_checkpoint has returned, or NULL for it. Roll this transaction back.';
	END IF;
END
$$;
-- +goose StatementEnd

-- Claims a key for the rest of this transaction, and reads it. The lock comes first, as a statement of its own: each statement of a volatile function
-- has a snapshot of its own in READ COMMITTED, so that the read sees what whoever held the lock before has committed. Under another isolation level
-- the snapshot is the transaction's; then it is the primary key that decides, when the key is completed.
--
-- owner is for who goes on with a key after a checkpoint of its own: its token.
-- +goose StatementBegin
CREATE FUNCTION idempotency_begin(scope text, key text, fingerprint bytea,
	OUT outcome text, OUT status integer, OUT headers bytea, OUT body bytea, OUT attempt integer, OUT recovery_point text, OUT steps bytea,
	INOUT owner bytea DEFAULT NULL)
LANGUAGE plpgsql AS $$
DECLARE
	given CONSTANT bytea := owner;
	locked boolean;
	claims text;
	kept record;
BEGIN
	owner := NULL;
	IF pg_is_in_recovery() THEN
		RAISE EXCEPTION 'the server is in recovery, and a standby cannot tell which keys are taken' USING ERRCODE = 'OO005',
			HINT = 'Connect to the primary (target_session_attrs=read-write).';
	ELSIF (octet_length(scope) BETWEEN 1 AND 255 AND octet_length(key) BETWEEN 1 AND 255
		AND scope COLLATE "C" !~ E'[\\u0001-\\u001f\\u007f-\\u009f]|^[ \\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]*$'
		AND key COLLATE "C" !~ E'[\\u0001-\\u001f\\u007f-\\u009f]|^[ \\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]*$') IS NOT TRUE THEN
		RAISE EXCEPTION 'scope and key must be 1 to 255 bytes of UTF-8 each, without control characters, and not blank' USING ERRCODE = 'OO001',
			HINT = 'The scope is the tenant that was authenticated, the key what its client calls the operation.';
	ELSIF (octet_length(fingerprint) = 33) IS NOT TRUE THEN
		RAISE EXCEPTION 'a fingerprint has 33 bytes' USING ERRCODE = 'OO001',
			HINT = 'idempotency_fingerprint makes one. 33 zero bytes are for a key that names its content, as a message id does.';
	ELSIF octet_length(given) <> 16 THEN
		RAISE EXCEPTION 'an owner token has 16 bytes' USING ERRCODE = 'OO001', HINT = 'Give the token that idempotency_checkpoint has returned.';
	END IF;

	locked := pg_try_advisory_xact_lock(idempotency_lock(scope, key));
	SELECT k.state, k.fingerprint, k.status, k.headers, k.body, k.recovery_point, k.steps, k.owner, k.attempt, coalesce(k.completions, 0) AS completions,
		k.expires_at <= clock_timestamp() AS expired, coalesce(k.leased_until > clock_timestamp(), false) AS live,
		k.recovery_point IS NULL AND k.owner IS NOT NULL AND k.expires_at IS NOT NULL AS lent
	INTO kept FROM idempotency_keys k
	WHERE k.scope = idempotency_begin.scope COLLATE "C" AND k.key = idempotency_begin.key COLLATE "C";

	IF FOUND AND kept.state = 'completed' AND kept.expired IS NOT TRUE THEN
		IF octet_length(kept.fingerprint) <> 33 OR kept.status IS NULL OR kept.headers IS NULL OR kept.body IS NULL THEN
			RAISE EXCEPTION 'the record of this key is damaged' USING ERRCODE = 'OO004',
				HINT = 'Nothing was done. Look at its row: a completed one has a fingerprint of 33 bytes, status, headers and body.';
		ELSIF kept.fingerprint <> fingerprint THEN
			outcome := 'mismatch';
			RETURN;
		END IF;
		outcome := 'replay';
		status := kept.status;
		headers := kept.headers;
		body := kept.body;
		IF current_setting('synchronous_standby_names') <> '' AND current_setting('synchronous_commit') NOT IN ('off', 'local') THEN
			-- Something small in the log, so that the caller's COMMIT waits until the standby has the record, too.
			PERFORM pg_logical_emit_message(true, 'onlyonce', '');
		END IF;
		RETURN;
	ELSIF FOUND AND kept.state NOT IN ('pending', 'completed') THEN
		RAISE EXCEPTION 'the row of this key has a state that these functions do not know' USING ERRCODE = 'OO004',
			HINT = 'It was written by a newer version: run the migrations of package functions up to the newest.';
	ELSIF NOT locked THEN
		outcome := 'in_progress';
		RETURN;
	ELSIF FOUND AND kept.state = 'pending' THEN
		IF (octet_length(kept.fingerprint) = 33 AND octet_length(kept.owner) = 16 AND kept.attempt BETWEEN 0 AND 2147483646
			AND kept.completions >= 0) IS NOT TRUE THEN
			RAISE EXCEPTION 'the pending row of this key is damaged' USING ERRCODE = 'OO004',
				HINT = 'Nothing was done. Look at its row: a pending one has a fingerprint of 33 bytes, an owner of 16, and counts its attempts.';
		ELSIF NOT kept.lent AND given IS NOT NULL AND given <> kept.owner THEN
			RAISE EXCEPTION 'another attempt has taken the key over' USING ERRCODE = 'OO003', HINT = 'Roll back. Ask again, without an owner token, for its outcome.';
		ELSIF kept.lent OR kept.live AND given IS NULL THEN
			outcome := 'in_progress';
			RETURN;
		ELSIF kept.completions = 2147483647 THEN
			RAISE EXCEPTION 'an earlier attempt has ended its own transaction, and what it wrote may be there' USING ERRCODE = 'OO006',
				HINT = 'The column last_error says more. Set completions to 0 when the effects have been looked at.';
		ELSIF kept.fingerprint <> fingerprint THEN
			outcome := 'mismatch';
			RETURN;
		END IF;
		attempt := kept.attempt + CASE WHEN given IS NULL THEN 1 ELSE 0 END;
		recovery_point := coalesce(kept.recovery_point, '');
		steps := kept.steps;
		owner := kept.owner;
	ELSIF given IS NOT NULL THEN
		RAISE EXCEPTION 'the key is not pending any more' USING ERRCODE = 'OO003', HINT = 'Roll back. Ask again without an owner token.';
	ELSE
		attempt := 1;
	END IF;

	claims := coalesce(current_setting('onlyonce.claims', true), '');
	IF strpos(claims, E'\x1e' || scope || E'\x1f' || key || E'\x1f') > 0 THEN
		RAISE EXCEPTION 'this transaction has begun the key before' USING ERRCODE = 'OO002',
			HINT = 'Begin a key once in a transaction: a second call would run the operation twice.';
	END IF;
	claims := set_config('onlyonce.claims', concat(claims, E'\x1e', scope, E'\x1f', key, E'\x1f', attempt, E'\x1f',
		coalesce(encode(owner, 'hex'), CASE WHEN FOUND THEN 'expired' ELSE '-' END), E'\x1f', encode(fingerprint, 'hex'), E'\x1f'), true);
	outcome := 'execute';
END
$$;
-- +goose StatementEnd

-- Stores the response of a key behind the writes of the transaction that has begun it. A first record is a plain INSERT: a second one is a unique
-- violation, which undoes the transaction. ON CONFLICT would keep its writes.
-- +goose StatementBegin
CREATE FUNCTION idempotency_complete(scope text, key text, fingerprint bytea, status integer, headers bytea, body bytea,
	retention interval DEFAULT '24 hours', owner bytea DEFAULT NULL) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
	claim record;
	-- As encode has it, escaped: a backslash is doubled, and a byte that is not ASCII has three digits.
	part CONSTANT text := '[!#$%&''*+.^_`|~0-9A-Z][!#$%&''*+.^_`|~0-9a-z]*'; -- of a name, between hyphens
	never CONSTANT text[] := ARRAY[E'%\nAuthorization: %', E'%\nConnection: %', E'%\nContent-Length: %', E'%\nDate: %', E'%\nKeep-Alive: %',
		E'%\nProxy-Authenticate: %', E'%\nProxy-Authorization: %', E'%\nProxy-Connection: %', E'%\nSet-Cookie: %', E'%\nSet-Cookie2: %',
		E'%\nTe: %', E'%\nTrailer: %', E'%\nTransfer-Encoding: %', E'%\nUpgrade: %', E'%\nWww-Authenticate: %'];
	form CONSTANT text := '^(' || part || '(-' || part || E')*: ([^\\u0001-\\u0008\\u000a-\\u001f\\u007f\\\\]|\\\\[23][0-7][0-7]|\\\\\\\\)*\\r\\n)*$';
BEGIN
	claim := idempotency_claim(scope, key, fingerprint, owner);
	IF (status = 0 OR status BETWEEN 200 AND 599) IS NOT TRUE THEN
		RAISE EXCEPTION 'a status is 200 to 599, as HTTP has it, or 0' USING ERRCODE = 'OO001', HINT = 'Roll this transaction back.';
	ELSIF (retention > interval '0') IS NOT TRUE THEN
		RAISE EXCEPTION 'a record must be kept for longer than no time' USING ERRCODE = 'OO001', HINT = 'Give a retention, 24 hours say. Roll this transaction back.';
	ELSIF octet_length(headers) > 0 AND (encode(headers, 'escape') COLLATE "C" !~ form
		OR E'\n' || encode(headers, 'escape') LIKE ANY (never)) THEN
		RAISE EXCEPTION 'the headers are not of the form that is stored, or one is among them that is never replayed' USING ERRCODE = 'OO001',
			HINT = 'Give "Name: value", each followed by carriage return and line feed, with names as in Content-Type. Roll this transaction back.';
	END IF;
	IF claim.token IS NULL THEN
		IF claim.expired THEN
			DELETE FROM idempotency_keys k WHERE k.scope = idempotency_complete.scope COLLATE "C" AND k.key = idempotency_complete.key COLLATE "C"
				AND k.state = 'completed' AND k.expires_at <= clock_timestamp();
		END IF;
		INSERT INTO idempotency_keys (scope, key, state, fingerprint, status, headers, body, created_at, completed_at, expires_at)
		VALUES (idempotency_complete.scope, idempotency_complete.key, 'completed', idempotency_complete.fingerprint, idempotency_complete.status,
			coalesce(idempotency_complete.headers, ''), coalesce(idempotency_complete.body, ''), now(), clock_timestamp(), clock_timestamp() + retention);
		RETURN;
	END IF;
	UPDATE idempotency_keys k SET state = 'completed', fingerprint = idempotency_complete.fingerprint, status = idempotency_complete.status,
		headers = coalesce(idempotency_complete.headers, ''), body = coalesce(idempotency_complete.body, ''),
		completed_at = clock_timestamp(), expires_at = clock_timestamp() + retention,
		steps = NULL, request = NULL, owner = NULL, leased_until = NULL, last_error = NULL
	WHERE k.scope = idempotency_complete.scope COLLATE "C" AND k.key = idempotency_complete.key COLLATE "C" AND k.state = 'pending' AND k.owner = claim.token;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'another attempt has taken the key over' USING ERRCODE = 'OO003', HINT = 'Roll back. Ask again for its outcome.';
	END IF;
END
$$;
-- +goose StatementEnd

-- Keeps how far an attempt has come, behind the writes of the transaction that has begun the key, and returns the token by which to go on. The
-- row is this attempt's until the lease is over, and after that for as long as nobody has taken it over.
-- +goose StatementBegin
CREATE FUNCTION idempotency_checkpoint(scope text, key text, fingerprint bytea, recovery_point text, steps bytea, request bytea DEFAULT NULL,
	lease interval DEFAULT '15 seconds', owner bytea DEFAULT NULL) RETURNS bytea
LANGUAGE plpgsql AS $$
DECLARE
	claim record;
	token CONSTANT bytea := uuid_send(gen_random_uuid());
BEGIN
	claim := idempotency_claim(scope, key, fingerprint, owner);
	IF (octet_length(recovery_point) <= 100 AND recovery_point COLLATE "C" !~ E'[\\u0001-\\u001f\\u007f-\\u009f]') IS NOT TRUE OR steps IS NULL THEN
		RAISE EXCEPTION 'a recovery point has a name of up to 100 bytes, without control characters, and a list of steps' USING ERRCODE = 'OO001',
			HINT = 'idempotency_step_add makes the list, whose last step gives the recovery point its name. Roll this transaction back.';
	ELSIF (lease > interval '0') IS NOT TRUE THEN
		RAISE EXCEPTION 'a lease must be longer than no time' USING ERRCODE = 'OO001', HINT = 'idempotency_release ends one. Roll this transaction back.';
	END IF;
	IF claim.token IS NULL THEN
		IF claim.expired THEN
			DELETE FROM idempotency_keys k WHERE k.scope = idempotency_checkpoint.scope COLLATE "C" AND k.key = idempotency_checkpoint.key COLLATE "C"
				AND k.state = 'completed' AND k.expires_at <= clock_timestamp();
		END IF;
		INSERT INTO idempotency_keys (scope, key, state, fingerprint, recovery_point, steps, request, owner, attempt, created_at, leased_until)
		VALUES (idempotency_checkpoint.scope, idempotency_checkpoint.key, 'pending', idempotency_checkpoint.fingerprint, idempotency_checkpoint.recovery_point,
			idempotency_checkpoint.steps, idempotency_checkpoint.request, token, claim.attempt, now(), clock_timestamp() + lease);
	ELSE
		UPDATE idempotency_keys k SET fingerprint = idempotency_checkpoint.fingerprint, recovery_point = idempotency_checkpoint.recovery_point,
			steps = idempotency_checkpoint.steps, request = coalesce(idempotency_checkpoint.request, k.request), owner = token,
			attempt = claim.attempt, last_error = NULL, leased_until = clock_timestamp() + lease
		WHERE k.scope = idempotency_checkpoint.scope COLLATE "C" AND k.key = idempotency_checkpoint.key COLLATE "C" AND k.state = 'pending' AND k.owner = claim.token;
		IF NOT FOUND THEN
			RAISE EXCEPTION 'another attempt has taken the key over' USING ERRCODE = 'OO003', HINT = 'Roll back. Ask again for its outcome.';
		END IF;
	END IF;
	-- From U+001E on: another key's entry may end in what this one is, where its scope does.
	PERFORM set_config('onlyonce.claims', replace(current_setting('onlyonce.claims'), E'\x1e' || claim.entry,
		concat(E'\x1e', scope, E'\x1f', key, E'\x1f', claim.attempt, E'\x1f', encode(token, 'hex'), E'\x1f', encode(fingerprint, 'hex'), E'\x1f')), true);
	RETURN token;
END
$$;
-- +goose StatementEnd

-- Ends the lease of an attempt that gives up, so that the next one need not wait for it, and reports whether there was one to end. What it has kept
-- stays, as does a key that is lent: that is the gateway's.
-- +goose StatementBegin
CREATE FUNCTION idempotency_release(scope text, key text, owner bytea) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
	UPDATE idempotency_keys k SET leased_until = clock_timestamp()
	WHERE k.scope = idempotency_release.scope COLLATE "C" AND k.key = idempotency_release.key COLLATE "C" AND k.state = 'pending'
		AND k.owner = idempotency_release.owner AND NOT (k.recovery_point IS NULL AND k.owner IS NOT NULL AND k.expires_at IS NOT NULL);
	RETURN FOUND;
END
$$;
-- +goose StatementEnd

-- Adds a step behind a list of them: NULL, or what idempotency_begin has returned. kind is atomic, foreign, or doubt for a foreign call that is about to
-- be made, which gives way to what is added next.
-- +goose StatementBegin
CREATE FUNCTION idempotency_step_add(steps bytea, name text, result bytea, kind text DEFAULT 'atomic') RETURNS bytea
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
	list bytea := CASE WHEN octet_length(steps) > 0 THEN steps ELSE E'\\x01' END;
	letter CONSTANT text := CASE kind WHEN 'atomic' THEN 'a' WHEN 'foreign' THEN 'f' WHEN 'doubt' THEN 'd' END;
	field bytea;
	size integer;
	last integer;
BEGIN
	IF letter IS NULL OR (octet_length(name) BETWEEN 1 AND 100 AND name COLLATE "C" !~ E'[\\u0001-\\u001f\\u007f-\\u009f]|^ *$') IS NOT TRUE THEN
		RAISE EXCEPTION 'a step is atomic, foreign or doubt, and its name has 1 to 100 bytes without control characters' USING ERRCODE = 'OO001',
			HINT = 'Name each step of an operation for what it does.';
	END IF;
	SELECT max(s.ends_at) FILTER (WHERE s.kind <> 'doubt') INTO last FROM idempotency_steps(list) s;
	list := substr(list, 1, coalesce(last, 1)) || convert_to(letter, 'UTF8');
	FOREACH field IN ARRAY ARRAY[convert_to(name, 'UTF8'), coalesce(result, '')] LOOP
		size := octet_length(field);
		WHILE size > 127 LOOP
			list := list || set_byte(E'\\x00', 0, size & 127 | 128);
			size := size >> 7;
		END LOOP;
		list := list || set_byte(E'\\x00', 0, size) || field;
	END LOOP;
	RETURN list;
END
$$;

-- Reads a list of steps, strictly: what is damaged is an error, since a step that is not seen would be run again. ends_at is where a step ends
-- in it, in bytes.
CREATE FUNCTION idempotency_steps(steps bytea) RETURNS TABLE (name text, kind text, result bytea, ends_at integer)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
	size CONSTANT integer := octet_length(steps);
	at integer := 1;
	field bytea;
	part integer;
	length bigint;
	shift integer;
	octet integer;
BEGIN
	IF coalesce(size, 0) = 0 THEN
		RETURN;
	ELSIF get_byte(steps, 0) <> 1 THEN
		RAISE EXCEPTION 'the list of steps is damaged, sealed, or of a newer version' USING ERRCODE = 'OO004', HINT = 'Whoever has written it can read it.';
	END IF;
	WHILE at < size LOOP
		IF kind = 'doubt' THEN
			EXIT;
		END IF;
		kind := CASE get_byte(steps, at) WHEN 97 THEN 'atomic' WHEN 102 THEN 'foreign' WHEN 100 THEN 'doubt' END;
		EXIT WHEN kind IS NULL;
		at := at + 1;
		FOR part IN 1..2 LOOP
			length := 0;
			shift := 0;
			LOOP
				IF at >= size OR shift > 28 THEN
					RAISE EXCEPTION 'the list of steps is damaged' USING ERRCODE = 'OO004', HINT = 'Whoever has written it can read it.';
				END IF;
				octet := get_byte(steps, at);
				at := at + 1;
				length := length | ((octet & 127)::bigint << shift);
				shift := shift + 7;
				EXIT WHEN octet < 128;
			END LOOP;
			IF length > size - at THEN
				RAISE EXCEPTION 'the list of steps is damaged' USING ERRCODE = 'OO004', HINT = 'Whoever has written it can read it.';
			END IF;
			field := substr(steps, at + 1, length::integer);
			at := at + length::integer;
			IF part = 1 THEN
				name := convert_from(field, 'UTF8');
			ELSE
				result := field;
			END IF;
		END LOOP;
		ends_at := at;
		RETURN NEXT;
	END LOOP;
	IF at < size THEN
		RAISE EXCEPTION 'the list of steps is damaged' USING ERRCODE = 'OO004', HINT = 'Whoever has written it can read it.';
	END IF;
END
$$;
-- +goose StatementEnd

-- Who may call them is for the operator to say. pg_catalog comes first, so that nothing in the schema can stand in for an operator or a function, and
-- pg_temp last, so that no temporary table can stand in for the keys'. idempotency_claim is for the others alone, and runs in theirs: another setting
-- would cost each payment as much as a statement.
-- +goose StatementBegin
DO $$
DECLARE
	made regprocedure;
	others CONSTANT text[] := ARRAY['idempotency_namespace()', 'idempotency_lock(text,text,text)',
		'idempotency_fingerprint(text,text,text,text,bytea,text[],text)', 'idempotency_foreign_key(text,text,text)', 'idempotency_claim(text,text,bytea,bytea)'];
	pinned CONSTANT text[] := ARRAY['idempotency_begin(text,text,bytea,bytea)',
		'idempotency_complete(text,text,bytea,integer,bytea,bytea,interval,bytea)',
		'idempotency_checkpoint(text,text,bytea,text,bytea,bytea,interval,bytea)', 'idempotency_release(text,text,bytea)',
		'idempotency_step_add(bytea,text,bytea,text)', 'idempotency_steps(bytea)'];
BEGIN
	FOREACH made IN ARRAY (others || pinned)::regprocedure[] LOOP
		EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', made);
	END LOOP;
	FOREACH made IN ARRAY pinned::regprocedure[] LOOP
		EXECUTE format('ALTER FUNCTION %s SET search_path = pg_catalog, %I, pg_temp', made, current_schema());
	END LOOP;
END
$$;
-- +goose StatementEnd

-- +goose Down
DROP FUNCTION idempotency_begin(text, text, bytea, bytea);
DROP FUNCTION idempotency_complete(text, text, bytea, integer, bytea, bytea, interval, bytea);
DROP FUNCTION idempotency_checkpoint(text, text, bytea, text, bytea, bytea, interval, bytea);
DROP FUNCTION idempotency_release(text, text, bytea);
DROP FUNCTION idempotency_claim(text, text, bytea, bytea);
DROP FUNCTION idempotency_step_add(bytea, text, bytea, text);
DROP FUNCTION idempotency_steps(bytea);
DROP FUNCTION idempotency_foreign_key(text, text, text);
DROP FUNCTION idempotency_fingerprint(text, text, text, text, bytea, text[], text);
DROP FUNCTION idempotency_lock(text, text, text);
DROP FUNCTION idempotency_namespace();
