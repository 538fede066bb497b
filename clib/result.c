#include "internal.h"

#include <stdlib.h>
#include <string.h>

uint32_t oo_abi_version(void) { return OO_ABI_VERSION; }

const char *oo_code_name(int code)
{
	static const char *const names[] = {
		"OO_OK", "OO_EINVAL", "OO_EHANDLE", "OO_EFORK", "OO_EINTERNAL", "OO_ENOMEM", "OO_ECONFIG", "OO_EKEY", "OO_ETOOLARGE",
		"OO_EUNAVAILABLE", "OO_EUNKNOWN", "OO_ELEASE", "OO_EUNREADABLE", "OO_ECONFLICT", "OO_ESQL", "OO_EEXECUTOR", "OO_ETRANSACTION",
		"OO_EHELD",
	};
	if (code < 0 || (size_t)code >= sizeof names / sizeof *names)
		return "OO_?";
	return names[code];
}

static const char nothing[1] = "";

oo_result *oi_result(void)
{
	oo_result *result = calloc(1, sizeof *result);
	if (result != NULL) {
		oo_bytes *fields[] = { &result->owner, &result->headers, &result->body, &result->recovery_point, &result->steps };
		for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
			fields[i]->data = nothing;
	}
	return result;
}

int oi_keep(oo_bytes *field, const void *data, size_t size)
{
	char *copy;
	if (size == 0)
		return 0;
	if ((copy = malloc(size + 1)) == NULL)
		return 1;
	memcpy(copy, data, size);
	copy[size] = 0;
	field->data = copy;
	field->size = size;
	return 0;
}

static void forget(oo_bytes *field)
{
	if (field->data != nothing)
		free((void *)(uintptr_t)field->data);
}

void oo_result_free(oo_result **result)
{
	if (result == NULL || *result == NULL)
		return;
	forget(&(*result)->owner);
	forget(&(*result)->headers);
	forget(&(*result)->body);
	forget(&(*result)->recovery_point);
	forget(&(*result)->steps);
	free(*result);
	*result = NULL;
}

int oi_fail(oo_error **error, int code, const char *message) { return oi_fail_as(error, code, 0, 0, "", message); }

int oi_fail_as(oo_error **error, int code, int retryable, int after_ms, const char *sqlstate, const char *message)
{
	size_t size = strlen(message) + 1;
	oo_error *made;
	char *text;
	if (error == NULL)
		return code;
	if ((made = malloc(sizeof *made + size)) == NULL) {
		*error = NULL;
		return code;
	}
	text = memcpy(made + 1, message, size);
	*made = (oo_error){ .code = code, .retryable = retryable, .retry_after_ms = after_ms, .message = text };
	if (sqlstate != NULL && strlen(sqlstate) == 5)
		memcpy(made->sqlstate, sqlstate, 6);
	*error = made;
	return code;
}

void oo_error_free(oo_error **error)
{
	if (error == NULL)
		return;
	free(*error);
	*error = NULL;
}
