/* A key's life in transactions of the caller's own. */
#include "onlyonce_libpq.h"
#include "testing.h"

static PGconn *conn;

static void sql(const char *statement)
{
	PGresult *answer = PQexec(conn, statement);
	ExecStatusType status = PQresultStatus(answer);
	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
		fprintf(stderr, "%s: %s", statement, PQerrorMessage(conn));
		exit(1);
	}
	PQclear(answer);
}

static int payments(void)
{
	PGresult *answer = PQexec(conn, "SELECT count(*) FROM payments");
	int n = atoi(PQgetvalue(answer, 0, 0));
	PQclear(answer);
	return n;
}

static int silent(void *context, const char *statement, const oo_param *params, size_t count, oo_row *row)
{
	(void)statement, (void)params, (void)count, (void)row;
	return *(int *)context;
}

static int full_but_failed(void *context, const char *statement, const oo_param *params, size_t count, oo_row *row)
{
	(void)context, (void)statement, (void)params, (void)count;
	oo_row_value(row, 0, "stored", 6);
	return 1;
}

static int twice(void *context, const char *statement, const oo_param *params, size_t count, oo_row *row)
{
	return full_but_failed(context, statement, params, count, row) && oo_row_value(row, 0, "stored", 6);
}

/* What a database may say, and what it is to the caller. */
static const struct {
	const char *state;
	int code, retryable;
} states[] = {
	{ "OO001", OO_EINVAL, 0 }, { "OO002", OO_ETRANSACTION, 0 }, { "OO003", OO_ELEASE, 1 }, { "OO004", OO_EUNREADABLE, 0 }, { "OO005", OO_EUNAVAILABLE, 1 },
	{ "OO006", OO_EHELD, 0 }, { "23505", OO_ECONFLICT, 1 }, { "40001", OO_ECONFLICT, 1 }, { "40P01", OO_ECONFLICT, 1 }, { "25P02", OO_ETRANSACTION, 0 },
	{ "25006", OO_EUNAVAILABLE, 1 }, { "08006", OO_EUNAVAILABLE, 1 }, { "57P01", OO_EUNAVAILABLE, 1 }, { "53300", OO_EUNAVAILABLE, 1 },
	{ "55P03", OO_EUNAVAILABLE, 1 }, { "42883", OO_ESQL, 0 }, { "42501", OO_ESQL, 0 }, { "XX000", OO_ESQL, 0 },
};

static int refusing(void *context, const char *statement, const oo_param *params, size_t count, oo_row *row)
{
	(void)statement, (void)params, (void)count;
	oo_row_fail(row, (const char *)context, "no\nmore");
	return 1;
}

static int wide(void *context, const char *statement, const oo_param *params, size_t count, oo_row *row)
{
	(void)context, (void)statement, (void)params, (void)count;
	return oo_row_value(row, 8, "x", 1);
}

int main(void)
{
	static const char body[] = "\0\x01\xff binary", headers[] = "Content-Type: application/octet-stream\r\n";
	unsigned char print[OO_FINGERPRINT_SIZE], other_print[OO_FINGERPRINT_SIZE], owner[OO_OWNER_SIZE];
	oo_operation pay = operation("tx-\xe2\x82\xac", "5", print), other = operation("tx-\xe2\x82\xac", "6", other_print), ride = operation("ride", NULL, NULL);
	oo_response created = response(201, headers, body, sizeof body - 1);
	oo_executor db;
	oo_checkpoint point;
	oo_result *result = NULL;
	oo_error *error = NULL;
	int32_t released = 7;
	int zero = 0;
	char search_path[256];

	conn = PQconnectdb(getenv("SUITE_URL"));
	CHECK(PQstatus(conn) == CONNECTION_OK);
	db = oo_libpq(conn);
	db.schema = getenv("SUITE_SCHEMA");
	snprintf(search_path, sizeof search_path, "SET search_path = %s", db.schema);
	sql(search_path);
	CHECK(PQsetClientEncoding(conn, "UTF8") == 0);
	sql("CREATE TABLE payments (n int)");

	BAD(OO_ETRANSACTION, oo_tx_begin(&db, &pay, none(), &result, &error)); /* no BEGIN */

	/* A ROLLBACK leaves nothing: no key, no payment. */
	sql("BEGIN");
	GOOD(oo_tx_begin(&db, &pay, none(), &result, &error));
	CHECK(result->outcome == OO_EXECUTE && result->attempt == 1 && result->owner.size == 0 && result->recovery_point.size == 0);
	oo_result_free(&result);
	sql("INSERT INTO payments VALUES (1)");
	GOOD(oo_tx_complete(&db, &pay, none(), &created, 0, &error));
	sql("ROLLBACK");
	CHECK(payments() == 0);

	sql("BEGIN");
	GOOD(oo_tx_begin(&db, &pay, none(), &result, &error));
	CHECK(result->outcome == OO_EXECUTE);
	oo_result_free(&result);
	sql("INSERT INTO payments VALUES (1)");
	{
		PGconn *second = PQconnectdb(getenv("SUITE_URL"));
		oo_executor theirs = oo_libpq(second);
		theirs.schema = db.schema;
		CHECK(PQsetClientEncoding(second, "LATIN1") == 0);
		PQclear(PQexec(second, "BEGIN"));
		CHECK(oo_tx_begin(&theirs, &pay, none(), &result, &error) == OO_ESQL && strstr(error->message, "client_encoding") != NULL);
		oo_error_free(&error);
		CHECK(PQsetClientEncoding(second, "UTF8") == 0);
		GOOD(oo_tx_begin(&theirs, &pay, none(), &result, &error));
		CHECK(result->outcome == OO_IN_PROGRESS);
		oo_result_free(&result);
		PQfinish(second);
		CHECK(oo_tx_begin(&theirs, NULL, none(), &result, &error) == OO_EINVAL);
		oo_error_free(&error);
	}
	GOOD(oo_tx_complete(&db, &pay, none(), &created, 3600, &error));
	sql("COMMIT");
	CHECK(payments() == 1);

	sql("BEGIN");
	GOOD(oo_tx_begin(&db, &pay, none(), &result, &error));
	CHECK(result->outcome == OO_REPLAY && result->status == 201);
	CHECK(same(result->headers, headers, sizeof headers - 1) && same(result->body, body, sizeof body - 1));
	oo_result_free(&result);
	GOOD(oo_tx_begin(&db, &other, none(), &result, &error));
	CHECK(result->outcome == OO_MISMATCH && result->body.size == 0);
	oo_result_free(&result);
	other.fingerprint = none(); /* which is one, too */
	GOOD(oo_tx_begin(&db, &other, none(), &result, &error));
	CHECK(result->outcome == OO_MISMATCH);
	oo_result_free(&result);
	/* Completing what was not begun here is an error, and the transaction can only be rolled back. */
	BAD(OO_ETRANSACTION, oo_tx_complete(&db, &ride, none(), &created, 0, &error));
	CHECK(oo_tx_begin(&db, &ride, none(), &result, &error) == OO_ETRANSACTION && strcmp(error->sqlstate, "25P02") == 0 && !error->retryable);
	oo_error_free(&error);
	sql("ROLLBACK");

	/* Recovery points: between two transactions the key is its owner's. */
	memset(&point, 0, sizeof point);
	point.recovery_point = text("ride_created");
	point.steps = bytes("\x01\0step", 6);
	sql("BEGIN");
	GOOD(oo_tx_begin(&db, &ride, none(), &result, &error));
	oo_result_free(&result);
	BAD(OO_EINVAL, oo_tx_checkpoint(&db, &ride, none(), NULL, &result, &error));
	point.recovery_point = text("");
	BAD(OO_EINVAL, oo_tx_checkpoint(&db, &ride, none(), &point, &result, &error));
	point.recovery_point = bytes("a\0b", 3);
	BAD(OO_EINVAL, oo_tx_checkpoint(&db, &ride, none(), &point, &result, &error));
	point.recovery_point = text("ride_created");
	point.lease_ms = -1;
	BAD(OO_EINVAL, oo_tx_checkpoint(&db, &ride, none(), &point, &result, &error));
	point.lease_ms = 0;
	BAD(OO_EINVAL, oo_tx_complete(&db, &ride, none(), &created, -1, &error));
	BAD(OO_EINVAL, oo_tx_release(&db, &ride, none(), &released, &error));
	CHECK(released == 0);
	released = 7;
	GOOD(oo_tx_checkpoint(&db, &ride, none(), &point, &result, &error));
	CHECK(result->outcome == OO_EXECUTE && result->owner.size == OO_OWNER_SIZE);
	memcpy(owner, result->owner.data, OO_OWNER_SIZE);
	oo_result_free(&result);
	sql("COMMIT");
	sql("BEGIN");
	GOOD(oo_tx_begin(&db, &ride, none(), &result, &error));
	CHECK(result->outcome == OO_IN_PROGRESS);
	oo_result_free(&result);
	GOOD(oo_tx_begin(&db, &ride, bytes(owner, sizeof owner), &result, &error));
	CHECK(result->outcome == OO_EXECUTE && result->attempt == 1 && same(result->recovery_point, "ride_created", 12) && same(result->steps, "\x01\0step", 6));
	CHECK(same(result->owner, owner, sizeof owner));
	oo_result_free(&result);
	sql("ROLLBACK");
	sql("BEGIN");
	GOOD(oo_tx_release(&db, &ride, bytes(print, OO_OWNER_SIZE), &released, &error));
	CHECK(released == 0);
	GOOD(oo_tx_release(&db, &ride, bytes(owner, sizeof owner), &released, &error));
	CHECK(released == 1);
	sql("COMMIT");
	sql("BEGIN");
	GOOD(oo_tx_begin(&db, &ride, none(), &result, &error));
	CHECK(result->outcome == OO_EXECUTE && result->attempt == 2 && result->owner.size == OO_OWNER_SIZE);
	GOOD(oo_tx_complete(&db, &ride, result->owner, &created, 0, &error));
	oo_result_free(&result);
	sql("COMMIT");
	sql("BEGIN");
	CHECK(oo_tx_begin(&db, &ride, bytes(owner, sizeof owner), &result, &error) == OO_OK ? result->outcome == OO_REPLAY : error->code == OO_ELEASE);
	oo_result_free(&result);
	oo_error_free(&error);
	sql("ROLLBACK");

	/* Of two in REPEATABLE READ the primary key decides. */
	sql("BEGIN ISOLATION LEVEL REPEATABLE READ");
	sql("SELECT 1");
	{
		oo_operation race = operation("race", NULL, NULL);
		PGconn *second = PQconnectdb(getenv("SUITE_URL"));
		oo_executor theirs = oo_libpq(second);
		theirs.schema = db.schema;
		CHECK(PQsetClientEncoding(second, "UTF8") == 0);
		PQclear(PQexec(second, "BEGIN"));
		GOOD(oo_tx_begin(&theirs, &race, none(), &result, &error));
		oo_result_free(&result);
		GOOD(oo_tx_complete(&theirs, &race, none(), &created, 0, &error));
		PQclear(PQexec(second, "COMMIT"));
		PQfinish(second);
		GOOD(oo_tx_begin(&db, &race, none(), &result, &error));
		CHECK(result->outcome == OO_EXECUTE); /* it looks into the past */
		oo_result_free(&result);
		CHECK(oo_tx_complete(&db, &race, none(), &created, 0, &error) == OO_ECONFLICT && error->retryable && strcmp(error->sqlstate, "23505") == 0);
		oo_error_free(&error);
	}
	sql("ROLLBACK");

	/* Executors that break their contract. */
	db.context = &zero;
	db.execute = silent;
	BAD(OO_EEXECUTOR, oo_tx_begin(&db, &pay, none(), &result, &error));
	zero = 1;
	BAD(OO_EEXECUTOR, oo_tx_complete(&db, &pay, none(), &created, 0, &error));
	db.execute = wide;
	BAD(OO_EEXECUTOR, oo_tx_begin(&db, &pay, none(), &result, &error));
	db.execute = refusing;
	for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
		db.context = (void *)states[i].state;
		CHECK(oo_tx_begin(&db, &pay, none(), &result, &error) == states[i].code && error->code == states[i].code && error->retryable == states[i].retryable);
		CHECK(strcmp(error->sqlstate, states[i].state) == 0 && strstr(error->message, "\nmore") == NULL);
		oo_error_free(&error);
	}
	db.execute = full_but_failed;
	BAD(OO_EEXECUTOR, oo_tx_complete(&db, &pay, none(), &created, 0, &error));
	db.execute = twice;
	BAD(OO_EEXECUTOR, oo_tx_complete(&db, &pay, none(), &created, 0, &error));
	db.execute = wide;
	db.size++;
	BAD(OO_EINVAL, oo_tx_begin(&db, &pay, none(), &result, &error));
	db.size--;
	db.execute = NULL;
	BAD(OO_EINVAL, oo_tx_begin(&db, &pay, none(), &result, &error));
	db = oo_libpq(conn);
	db.schema = "nowhere\" at all";
	sql("BEGIN");
	CHECK(oo_tx_begin(&db, &pay, none(), &result, &error) == OO_ESQL && strcmp(error->sqlstate, "3F000") == 0);
	oo_error_free(&error);
	sql("ROLLBACK");
	db.schema = "a name of 64 bytes, one more than the server keeps: xxxxxxxxxxxx";
	BAD(OO_EINVAL, oo_tx_begin(&db, &pay, none(), &result, &error));
	sql("BEGIN");
	db.schema = getenv("SUITE_SCHEMA");
	error = (oo_error *)print;
	CHECK(oo_tx_begin(&db, &ride, none(), &result, &error) == OO_OK && error == NULL);
	oo_result_free(&result);
	result = (oo_result *)print;
	BAD(OO_EINVAL, oo_tx_begin(&db, NULL, none(), &result, &error));
	CHECK(result == NULL);
	sql("ROLLBACK");
	db.schema = NULL;
	sql("BEGIN");
	GOOD(oo_tx_begin(&db, &pay, none(), &result, &error));
	oo_result_free(&result);

	/* What libpq itself refuses is no broken connection, and trying again does not help. */
	CHECK(PQenterPipelineMode(conn) == 1);
	CHECK(oo_tx_begin(&db, &ride, none(), &result, &error) == OO_EEXECUTOR && !error->retryable && strstr(error->message, "pipeline") != NULL);
	oo_error_free(&error);
	CHECK(PQexitPipelineMode(conn) == 1);

	/* A connection that broke says so, and that trying again helps. */
	sql("SELECT set_config('suite.pid', pg_backend_pid()::text, false)");
	{
		char kill[64];
		PGconn *second = PQconnectdb(getenv("SUITE_URL"));
		snprintf(kill, sizeof kill, "SELECT pg_terminate_backend(%d, 10000)", PQbackendPID(conn));
		PQclear(PQexec(second, kill));
		PQfinish(second);
	}
	CHECK(oo_tx_begin(&db, &ride, none(), &result, &error) == OO_EUNAVAILABLE && error->retryable);
	oo_error_free(&error);
	CHECK(oo_tx_begin(&db, &ride, none(), &result, &error) == OO_EUNAVAILABLE && error->retryable);
	oo_error_free(&error);
	PQfinish(conn);
	return 0;
}
