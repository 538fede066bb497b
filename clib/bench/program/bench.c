/* Prints, for each round and each contender, its name and microseconds an operation: the median of the round's. The two of a pair take turns, operation by
 * operation, so that what else the machine does strikes both. Arguments: rounds, operations. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "onlyonce_libpq.h"

static PGconn *conn;
static oo_executor db;
static oo_store store;
static const char body[] = "{\"id\":\"pay_1\",\"amount\":500,\"currency\":\"EUR\",\"state\":\"captured\"}";
static const char headers[] = "Content-Type: application/json\r\n";
static unsigned char print[OO_FINGERPRINT_SIZE];
static long number;

static void die(const char *what, const char *why)
{
	fprintf(stderr, "%s: %s\n", what, why);
	exit(1);
}

static void good(int code, oo_error *error)
{
	if (code != OO_OK)
		die(oo_code_name(code), error != NULL ? error->message : "");
}

static PGresult *answered(PGresult *answer)
{
	ExecStatusType status = PQresultStatus(answer);
	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
		die("libpq", PQerrorMessage(conn));
	return answer;
}

static void sql(const char *statement) { PQclear(answered(PQexec(conn, statement))); }

static const char *next(char *key, const char *what)
{
	sprintf(key, "%s-%ld", what, number++);
	return key;
}

static oo_operation operation(const char *key)
{
	return (oo_operation){ { "acme", 4 }, { key, strlen(key) }, { print, sizeof print } };
}

static const Oid types[] = { 25, 25, 17, 25, 17, 17 };
static const int binary[] = { 1, 1, 1, 1, 1, 1 };

static void libpq_begin(const char *key, const char *outcome)
{
	const char *values[] = { "acme", key, (const char *)print };
	int sizes[] = { 4, (int)strlen(key), sizeof print };
	PGresult *answer = answered(PQexecParams(conn, "SELECT outcome, status::text, headers, body, attempt::text, recovery_point, steps, owner "
		"FROM idempotency_begin($1::text, $2::text, $3::bytea)", 3, types, values, sizes, binary, 1));
	if (strcmp(PQgetvalue(answer, 0, 0), outcome) != 0)
		die("outcome", PQgetvalue(answer, 0, 0));
	PQclear(answer);
}

static void libpq_complete(const char *key)
{
	const char *values[] = { "acme", key, (const char *)print, "201", headers, body };
	int sizes[] = { 4, (int)strlen(key), sizeof print, 3, sizeof headers - 1, sizeof body - 1 };
	PQclear(answered(PQexecParams(conn, "SELECT 'stored'::text FROM idempotency_complete($1::text, $2::text, $3::bytea, $4::text::integer, $5::bytea, $6::bytea)",
		6, types, values, sizes, binary, 1)));
}

static void library_begin(const char *key, int outcome)
{
	oo_operation o = operation(key);
	oo_result *result = NULL;
	oo_error *error = NULL;
	good(oo_tx_begin(&db, &o, (oo_bytes){ NULL, 0 }, &result, &error), error);
	if (result->outcome != outcome)
		die("outcome", "another one");
	oo_result_free(&result);
}

static void libpq_once(char *key)
{
	sql("BEGIN");
	libpq_begin(next(key, "a"), "execute");
	libpq_complete(key);
	sql("COMMIT");
}

static void library_once(char *key)
{
	oo_response r = { 201, { headers, sizeof headers - 1 }, { body, sizeof body - 1 } };
	oo_error *error = NULL;
	sql("BEGIN");
	library_begin(next(key, "b"), OO_EXECUTE);
	oo_operation o = operation(key);
	good(oo_tx_complete(&db, &o, (oo_bytes){ NULL, 0 }, &r, 0, &error), error);
	sql("COMMIT");
}

static void libpq_replay(char *key)
{
	(void)key;
	sql("BEGIN");
	libpq_begin("replayed", "replay");
	sql("ROLLBACK");
}

static void library_replay(char *key)
{
	(void)key;
	sql("BEGIN");
	library_begin("replayed", OO_REPLAY);
	sql("ROLLBACK");
}

static void libpq_lease(char *key)
{
	static const char wait[] = "100";
	unsigned char owner[16];
	uint64_t lease = __builtin_bswap64(30000000), day = __builtin_bswap64(86400000000);
	uint16_t status = __builtin_bswap16(201);
	next(key, "c");
	memset(owner, 1, sizeof owner);
	memcpy(owner, &number, sizeof number);
	{
		const char *values[] = { "acme", key, (char *)owner, (char *)print, (char *)print, (char *)&lease, (char *)&day, wait };
		int sizes[] = { 4, (int)strlen(key), 16, sizeof print, sizeof print, 8, 8, sizeof wait - 1 }, formats[] = { 1, 1, 1, 1, 1, 1, 1, 1 };
		PGresult *answer = answered(PQexecPrepared(conn, "acquire", 8, values, sizes, formats, 1));
		if (PQgetisnull(answer, 0, 0))
			die("acquire", "not lent");
		PQclear(answer);
	}
	{
		const char *values[] = { "acme", key, (char *)owner, (char *)print, (char *)&status, headers, body, (char *)&day };
		int sizes[] = { 4, (int)strlen(key), 16, sizeof print, 2, sizeof headers - 1, sizeof body - 1, 8 }, formats[] = { 1, 1, 1, 1, 1, 1, 1, 1 };
		PGresult *answer = answered(PQexecPrepared(conn, "settle", 8, values, sizes, formats, 1));
		if (strcmp(PQcmdTuples(answer), "1") != 0)
			die("settle", "nothing stored");
		PQclear(answer);
	}
}

static void library_lease(char *key)
{
	oo_operation o = operation(next(key, "d"));
	oo_response r = { 201, { headers, sizeof headers - 1 }, { body, sizeof body - 1 } };
	oo_result *result = NULL;
	oo_error *error = NULL;
	good(oo_begin(store, &o, &result, &error), error);
	good(oo_complete(store, &o, result->owner, &r, NULL, &error), error);
	oo_result_free(&result);
}

static int canned(void *context, const char *statement, const oo_param *params, size_t count, oo_row *row)
{
	(void)context, (void)statement, (void)params, (void)count;
	oo_row_value(row, 0, "execute", 7);
	for (size_t i = 1; i < 8; i++)
		oo_row_value(row, i, NULL, 0);
	return 0;
}

static void library_alone(char *key)
{
	oo_executor without = db;
	oo_operation o = operation("a key of usual length, like this");
	oo_result *result = NULL;
	(void)key;
	without.execute = canned;
	good(oo_tx_begin(&without, &o, (oo_bytes){ NULL, 0 }, &result, NULL), NULL);
	oo_result_free(&result);
}

static void crossing(char *key)
{
	(void)key;
	if (oo_check(0, NULL) != OO_EHANDLE)
		die("crossing", "no such store");
}

typedef struct contender {
	const char *name;
	void (*once)(char *key);
	int times; /* in a row, where one is too short to be measured */
} contender;

static const contender pairs[][2] = {
	{ { "tx/libpq", libpq_once, 1 }, { "tx/library", library_once, 1 } },
	{ { "replay/libpq", libpq_replay, 1 }, { "replay/library", library_replay, 1 } },
	{ { "lease/libpq", libpq_lease, 1 }, { "lease/library", library_lease, 1 } },
	{ { "alone/oo_tx_begin", library_alone, 100 }, { "alone/into Go and back with an error", crossing, 100 } },
};

static double micros(const contender *c, char *key)
{
	struct timespec begin, end;
	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (int i = 0; i < c->times; i++)
		c->once(key);
	clock_gettime(CLOCK_MONOTONIC, &end);
	return ((double)(end.tv_sec - begin.tv_sec) * 1e6 + (double)(end.tv_nsec - begin.tv_nsec) / 1e3) / c->times;
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static void compare(const contender pair[2], int operations, int printed)
{
	char key[64];
	double *taken[2] = { calloc((size_t)operations, sizeof(double)), calloc((size_t)operations, sizeof(double)) };
	if (taken[0] == NULL || taken[1] == NULL)
		die("calloc", "out of memory");
	for (int i = 0; i < operations; i++) {
		int first = i % 2;
		taken[first][i] = micros(&pair[first], key);
		taken[!first][i] = micros(&pair[!first], key);
	}
	for (int i = 0; i < 2; i++) {
		qsort(taken[i], (size_t)operations, sizeof(double), ascending);
		if (printed)
			printf("%s\t%.4f\n", pair[i].name, taken[i][operations / 2]);
		free(taken[i]);
	}
}

int main(int count, char **arguments)
{
	char config[2048];
	int rounds = count > 1 ? atoi(arguments[1]) : 10, operations = count > 2 ? atoi(arguments[2]) : 200;
	oo_error *error = NULL;
	conn = PQconnectdb(getenv("BENCH_URL"));
	if (PQstatus(conn) != CONNECTION_OK || PQsetClientEncoding(conn, "UTF8") != 0)
		die("connect", PQerrorMessage(conn));
	db = oo_libpq(conn);
	oo_fingerprint(NULL, 0, (oo_bytes){ "5", 1 }, print);
	snprintf(config, sizeof config, "SET search_path = %s", getenv("BENCH_SCHEMA"));
	sql(config);
	snprintf(config, sizeof config, "{\"dsn\":\"%s\",\"schema\":\"%s\"}", getenv("BENCH_URL"), getenv("BENCH_SCHEMA"));
	good(oo_open(config, strlen(config), &store, &error), error);
	PQclear(answered(PQprepare(conn, "acquire", getenv("BENCH_ACQUIRE"), 0, NULL)));
	PQclear(answered(PQprepare(conn, "settle", getenv("BENCH_SETTLE"), 0, NULL)));
	sql("BEGIN");
	libpq_begin("replayed", "execute");
	libpq_complete("replayed");
	sql("COMMIT");
	for (int round = -1; round < rounds; round++) /* the first warms up */
		for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
			compare(pairs[i], operations, round >= 0);
	return 0;
}
