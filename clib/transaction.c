/* The family on the caller's own transaction. Nothing here enters the Go runtime: it works in a forked child as well. */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS 8
#define SQL_SIZE 640

struct oo_row {
	oo_bytes values[COLUMNS];
	unsigned given; /* one bit for each column that was set, NULL included */
	int failed, exhausted;
	char sqlstate[6];
	char message[512];
};

int oo_row_value(oo_row *row, size_t column, const void *data, size_t size)
{
	if (row == NULL || column >= COLUMNS || (row->given & 1u << column) != 0 || (data == NULL && size > 0)) {
		oo_row_fail(row, "", "the executor gave a column that no statement here has, or gave one twice");
		return 1;
	}
	if (oi_keep(&row->values[column], data, size) != 0) {
		row->exhausted = 1;
		return 1;
	}
	row->given |= 1u << column;
	return 0;
}

void oo_row_fail(oo_row *row, const char *sqlstate, const char *message)
{
	if (row == NULL || row->failed)
		return;
	row->failed = 1;
	if (sqlstate == NULL)
		sqlstate = "08000";
	if (strlen(sqlstate) == 5)
		memcpy(row->sqlstate, sqlstate, 6);
	snprintf(row->message, sizeof row->message, "%s", message != NULL ? message : "the database gave no reason");
	row->message[strcspn(row->message, "\r\n")] = 0;
}

static void forget(oo_row *row)
{
	for (int i = 0; i < COLUMNS; i++)
		free((void *)(uintptr_t)row->values[i].data);
}

/* What SQLSTATEs mean to the caller. The first that the state begins with counts. */
static const struct {
	const char *state;
	int code, retryable;
	const char *advice;
} meanings[] = {
	{ "OO001", OO_EINVAL, 0, "roll back, and correct the argument" },
	{ "OO002", OO_ETRANSACTION, 0, "roll back; call oo_tx_begin first, once, and the rest in the same transaction" },
	{ "OO003", OO_ELEASE, 1, "roll back, and begin again for what became of the key" },
	{ "OO004", OO_EUNREADABLE, 0, "roll back; the operation was not repeated" },
	{ "OO005", OO_EUNAVAILABLE, 1, "connect to the primary (target_session_attrs=read-write)" },
	{ "OO006", OO_EHELD, 0, "an operator has to look at the key's row" },
	{ "23505", OO_ECONFLICT, 1, "another attempt came first: roll back, and begin again with the same key" },
	{ "40", OO_ECONFLICT, 1, "roll back, and begin again with the same key" },
	{ "25P", OO_ETRANSACTION, 0, "the statements of one operation belong in one transaction: send BEGIN first, and ROLLBACK after an error" },
	{ "25006", OO_EUNAVAILABLE, 1, "connect to the primary, and let the transaction write" },
	{ "08", OO_EUNAVAILABLE, 1, "connect again, and begin again with the same key" },
	{ "57", OO_EUNAVAILABLE, 1, "connect again, or roll back, and begin again with the same key" },
	{ "53", OO_EUNAVAILABLE, 1, "roll back, and begin again with the same key" },
	{ "55P03", OO_EUNAVAILABLE, 1, "roll back, and begin again with the same key" },
	{ "42883", OO_ESQL, 0, "apply the migrations of migrations/functions, and name their schema in the executor or in the search_path" },
	{ "42501", OO_ESQL, 0, "grant the role what docs/protocol.md shows" },
	{ "", OO_ESQL, 0, "roll back" },
};

static int refused(const oo_row *row, const char *function, oo_error **error)
{
	char text[1024];
	size_t i = 0;
	while (strncmp(row->sqlstate, meanings[i].state, strlen(meanings[i].state)) != 0)
		i++;
	snprintf(text, sizeof text, "%s: %s: %s", function, row->message, meanings[i].advice);
	return oi_fail_as(error, meanings[i].code, meanings[i].retryable, 0, row->sqlstate, text);
}

/* The schema as an identifier and a dot, or nothing. Returns 1 if there is no such name. */
static int qualify(const char *schema, char *out)
{
	size_t size = schema == NULL ? 0 : strlen(schema);
	*out = 0;
	if (size == 0)
		return 0;
	if (size > 63) /* the server would cut it short, and take another one */
		return 1;
	*out++ = '"';
	for (; *schema != 0; schema++) {
		if (*schema == '"')
			*out++ = '"';
		*out++ = *schema;
	}
	memcpy(out, "\".", 3);
	return 0;
}

/* Runs "select" from function(arguments) and expects as many columns. row is to be forgotten whatever comes back. */
static int run(const oo_executor *db, const char *select, const char *function, const char *arguments, const oo_param *params, size_t count,
	size_t columns, oo_row *row, oo_error **error)
{
	char schema[2 * 63 + 4], sql[SQL_SIZE];
	int status;
	memset(row, 0, sizeof *row);
	if (db == NULL || db->size != sizeof *db || db->execute == NULL)
		return oi_fail(error, OO_EINVAL, "the executor is NULL, has no execute, or was compiled against another version: set size to sizeof(oo_executor)");
	if (qualify(db->schema, schema) != 0)
		return oi_fail(error, OO_EINVAL, "the executor's schema has more than 63 bytes");
	snprintf(sql, sizeof sql, "SELECT %s FROM %s%s(%s)", select, schema, function, arguments);
	status = db->execute(db->context, sql, params, count, row);
	if (row->exhausted)
		return oi_fail(error, OO_ENOMEM, "out of memory: roll back");
	if (row->failed && row->sqlstate[0] != 0)
		return refused(row, function, error);
	if (status != 0 || row->failed || row->given != (1u << columns) - 1)
		return oi_fail(error, OO_EEXECUTOR, row->failed ? row->message :
			"the executor has not given each column of one row, nor said why: roll back, and see oo_executor");
	return OO_OK;
}

static oo_param param(int type, oo_bytes bytes)
{
	return (oo_param){ .type = type, .data = bytes.data != NULL ? bytes.data : "", .size = bytes.size };
}

static oo_param nullable(oo_bytes bytes)
{
	oo_param p = param(OO_BYTEA, bytes);
	p.null = bytes.size == 0;
	return p;
}

/* A number, as text: drivers differ in how they send one. */
static oo_param number(char *buffer, size_t size, int64_t n)
{
	int length = snprintf(buffer, size, "%lld", (long long)n);
	return (oo_param){ .type = OO_TEXT, .data = buffer, .size = (size_t)length };
}

static oo_param fingerprint_of(const oo_operation *operation)
{
	static const unsigned char none[OO_FINGERPRINT_SIZE];
	return operation->fingerprint.size > 0 ? param(OO_BYTEA, operation->fingerprint) : param(OO_BYTEA, (oo_bytes){ none, sizeof none });
}

static int is(const oo_bytes *value, const char *word) { return value->data != NULL && value->size == strlen(word) && memcmp(value->data, word, value->size) == 0; }

/* 0: none that is known here. */
static int32_t outcome_of(const oo_bytes *value)
{
	static const char *const words[] = { NULL, "execute", "replay", "in_progress", "mismatch" };
	for (int32_t i = OO_EXECUTE; i <= OO_MISMATCH; i++)
		if (is(value, words[i]))
			return i;
	return 0;
}

static int32_t to_number(const oo_bytes *value) { return value->data == NULL ? 0 : (int32_t)strtol(value->data, NULL, 10); }

static void hand_over(oo_bytes *to, oo_bytes *from)
{
	if (from->data != NULL) {
		*to = *from;
		from->data = NULL;
	}
}

int oo_tx_begin(const oo_executor *db, const oo_operation *operation, oo_bytes owner, oo_result **result, oo_error **error)
{
	oo_row row = { 0 };
	oo_result *made;
	int code;
	if (error != NULL)
		*error = NULL;
	if (result == NULL)
		return oi_fail(error, OO_EINVAL, "result is NULL: the outcome has to go somewhere");
	*result = NULL;
	if ((code = oi_check_operation(operation, error)) != OO_OK || (code = oi_check_owner(owner, 0, error)) != OO_OK)
		return code;
	if ((made = oi_result()) == NULL)
		return oi_fail(error, OO_ENOMEM, "out of memory");
	oo_param params[] = { param(OO_TEXT, operation->scope), param(OO_TEXT, operation->key), fingerprint_of(operation), param(OO_BYTEA, owner) };
	code = run(db, "outcome, status::text, headers, body, attempt::text, recovery_point, steps, owner", "idempotency_begin",
		owner.size > 0 ? "$1::text, $2::text, $3::bytea, $4::bytea" : "$1::text, $2::text, $3::bytea", params, owner.size > 0 ? 4 : 3, 8, &row, error);
	if (code == OO_OK) {
		oo_bytes *v = row.values;
		made->outcome = outcome_of(v);
		made->status = to_number(&v[1]);
		made->attempt = to_number(&v[4]);
		hand_over(&made->headers, &v[2]);
		hand_over(&made->body, &v[3]);
		hand_over(&made->recovery_point, &v[5]);
		hand_over(&made->steps, &v[6]);
		hand_over(&made->owner, &v[7]);
		if (made->outcome == 0)
			code = oi_fail(error, OO_ESQL, "idempotency_begin: the outcome is not one that this library knows: roll back, and install the library that belongs to "
				"the functions");
	}
	forget(&row);
	if (code == OO_OK)
		*result = made;
	else
		oo_result_free(&made);
	return code;
}

int oo_tx_complete(const oo_executor *db, const oo_operation *operation, oo_bytes owner, const oo_response *response, int64_t retention_s, oo_error **error)
{
	oo_row row = { 0 };
	char status[24], retention[24];
	int code;
	if (error != NULL)
		*error = NULL;
	if ((code = oi_check_operation(operation, error)) != OO_OK || (code = oi_check_owner(owner, 0, error)) != OO_OK ||
		(code = oi_check_response(response, error)) != OO_OK)
		return code;
	if (retention_s < 0 || retention_s > INT32_MAX)
		return oi_fail(error, OO_EINVAL, "retention_s must be from 1 to 2147483647, or 0 for 24 hours");
	oo_param params[] = { param(OO_TEXT, operation->scope), param(OO_TEXT, operation->key), fingerprint_of(operation),
		number(status, sizeof status, response->status), param(OO_BYTEA, response->headers), param(OO_BYTEA, response->body),
		number(retention, sizeof retention, retention_s == 0 ? 86400 : retention_s), nullable(owner) };
	code = run(db, "'stored'::text", "idempotency_complete",
		"$1::text, $2::text, $3::bytea, $4::text::integer, $5::bytea, $6::bytea, $7::text::double precision * interval '1 second', $8::bytea",
		params, sizeof params / sizeof *params, 1, &row, error);
	forget(&row);
	return code;
}

int oo_tx_checkpoint(const oo_executor *db, const oo_operation *operation, oo_bytes owner, const oo_checkpoint *checkpoint, oo_result **result, oo_error **error)
{
	oo_row row = { 0 };
	char lease[24];
	oo_result *made;
	int code;
	if (error != NULL)
		*error = NULL;
	if (result == NULL || checkpoint == NULL)
		return oi_fail(error, OO_EINVAL, "result or checkpoint is NULL");
	*result = NULL;
	if ((code = oi_check_operation(operation, error)) != OO_OK || (code = oi_check_owner(owner, 0, error)) != OO_OK)
		return code;
	if (checkpoint->recovery_point.size == 0 || checkpoint->recovery_point.size > 100 || checkpoint->recovery_point.data == NULL ||
		memchr(checkpoint->recovery_point.data, 0, checkpoint->recovery_point.size) != NULL ||
		(checkpoint->steps.data == NULL && checkpoint->steps.size > 0) || (checkpoint->request.data == NULL && checkpoint->request.size > 0))
		return oi_fail(error, OO_EINVAL, "a checkpoint has a recovery_point of 1 to 100 bytes of text, and no data that is NULL");
	if (checkpoint->steps.size > OO_MAX_BODY || checkpoint->request.size > OO_MAX_BODY)
		return oi_fail(error, OO_ETOOLARGE, "the steps or the request are larger than OO_MAX_BODY: nothing was stored");
	if (checkpoint->lease_ms < 0 || checkpoint->lease_ms > INT32_MAX)
		return oi_fail(error, OO_EINVAL, "lease_ms must be from 1 to 2147483647, or 0 for 15 seconds");
	if ((made = oi_result()) == NULL)
		return oi_fail(error, OO_ENOMEM, "out of memory");
	oo_param params[] = { param(OO_TEXT, operation->scope), param(OO_TEXT, operation->key), fingerprint_of(operation),
		param(OO_TEXT, checkpoint->recovery_point), param(OO_BYTEA, checkpoint->steps), nullable(checkpoint->request),
		number(lease, sizeof lease, checkpoint->lease_ms == 0 ? 15000 : checkpoint->lease_ms), nullable(owner) };
	code = run(db, "token", "idempotency_checkpoint",
		"$1::text, $2::text, $3::bytea, $4::text, $5::bytea, $6::bytea, $7::text::double precision * interval '1 millisecond', $8::bytea) token (token",
		params, sizeof params / sizeof *params, 1, &row, error);
	if (code == OO_OK) {
		made->outcome = OO_EXECUTE;
		hand_over(&made->owner, &row.values[0]);
	}
	forget(&row);
	if (code == OO_OK)
		*result = made;
	else
		oo_result_free(&made);
	return code;
}

int oo_tx_release(const oo_executor *db, const oo_operation *operation, oo_bytes owner, int32_t *released, oo_error **error)
{
	oo_row row = { 0 };
	int code;
	if (error != NULL)
		*error = NULL;
	if (released != NULL)
		*released = 0;
	if ((code = oi_check_operation(operation, error)) != OO_OK || (code = oi_check_owner(owner, 1, error)) != OO_OK)
		return code;
	oo_param params[] = { param(OO_TEXT, operation->scope), param(OO_TEXT, operation->key), param(OO_BYTEA, owner) };
	code = run(db, "released::text", "idempotency_release", "$1::text, $2::text, $3::bytea) released (released", params, 3, 1, &row, error);
	if (code == OO_OK && released != NULL)
		*released = is(&row.values[0], "true");
	forget(&row);
	return code;
}
