/* The family on connections of the library's own. Each call looks at the process before it enters Go: in the child of a fork the Go runtime has none
 * of its threads, and whoever enters it waits for ever. */
#include "internal.h"

#include <pthread.h>
#include <unistd.h>

#include "_cgo_export.h"

static pid_t home;
static volatile int child;

static void in_child(void) { child = 1; }

/* Both, since a fork by the bare system call runs no handler, and a child in a PID namespace of its own can have its parent's number. */
static void __attribute__((constructor)) remember_process(void)
{
	home = getpid();
	pthread_atfork(NULL, NULL, in_child);
}

static int enter(oo_error **error)
{
	if (error != NULL)
		*error = NULL;
	if (child || getpid() != home)
		return oi_fail(error, OO_EFORK, "the process was forked after the library was loaded, and its threads are not here: load the library and open stores after "
			"the fork, or use the oo_tx_ functions");
	return OO_OK;
}

static int enter_with(const oo_operation *operation, oo_error **error)
{
	int code = enter(error);
	return code != OO_OK ? code : oi_check_operation(operation, error);
}

#define OPERATION(operation) ((oo_operation *)(uintptr_t)(operation)) /* Go declares no const */

int oo_open(const char *config, size_t size, oo_store *store, oo_error **error)
{
	int code;
	if (store != NULL)
		*store = 0;
	if ((code = enter(error)) != OO_OK)
		return code;
	if (config == NULL || store == NULL)
		return oi_fail(error, OO_EINVAL, "config or store is NULL");
	if (size > 1 << 16)
		return oi_fail(error, OO_ECONFIG, "the configuration is larger than 64 kB");
	return oiOpen((void *)(uintptr_t)config, (int)size, store, error);
}

int oo_check(oo_store store, oo_error **error)
{
	int code = enter(error);
	return code != OO_OK ? code : oiCheck(store, error);
}

int oo_close(oo_store store, oo_error **error)
{
	int code = enter(error);
	return code != OO_OK ? code : oiClose(store, error);
}

/* Calls one of the two functions that give a result. */
static int ask(int (*go)(oo_store, oo_operation *, oo_result *, oo_error **), oo_store store, const oo_operation *operation, oo_result **result, oo_error **error)
{
	oo_result *made;
	int code;
	if (result != NULL)
		*result = NULL;
	if ((code = enter_with(operation, error)) != OO_OK)
		return code;
	if (result == NULL)
		return oi_fail(error, OO_EINVAL, "result is NULL: the outcome has to go somewhere");
	if ((made = oi_result()) == NULL)
		return oi_fail(error, OO_ENOMEM, "out of memory");
	if ((code = go(store, OPERATION(operation), made, error)) == OO_OK)
		*result = made;
	else
		oo_result_free(&made);
	return code;
}

int oo_begin(oo_store store, const oo_operation *operation, oo_result **result, oo_error **error) { return ask(oiBegin, store, operation, result, error); }

int oo_lookup(oo_store store, const oo_operation *operation, oo_result **result, oo_error **error) { return ask(oiLookup, store, operation, result, error); }

int oo_complete(oo_store store, const oo_operation *operation, oo_bytes owner, const oo_response *response, int32_t *again, oo_error **error)
{
	int32_t unasked;
	int code;
	if (again == NULL)
		again = &unasked;
	*again = 0;
	if ((code = enter_with(operation, error)) != OO_OK || (code = oi_check_owner(owner, 1, error)) != OO_OK ||
		(code = oi_check_response(response, error)) != OO_OK)
		return code;
	return oiComplete(store, OPERATION(operation), owner, (oo_response *)(uintptr_t)response, again, error);
}

int oo_extend(oo_store store, const oo_operation *operation, oo_bytes owner, int64_t lease_ms, oo_error **error)
{
	int code;
	if ((code = enter_with(operation, error)) != OO_OK || (code = oi_check_owner(owner, 1, error)) != OO_OK)
		return code;
	if (lease_ms < 0 || lease_ms > 24 * 60 * 60 * 1000)
		return oi_fail(error, OO_EINVAL, "lease_ms must be from 1 to 86400000, or 0 for the configured time");
	return oiExtend(store, OPERATION(operation), owner, lease_ms, error);
}

int oo_release(oo_store store, const oo_operation *operation, oo_bytes owner, oo_error **error)
{
	int code;
	if ((code = enter_with(operation, error)) != OO_OK || (code = oi_check_owner(owner, 1, error)) != OO_OK)
		return code;
	return oiRelease(store, OPERATION(operation), owner, error);
}

int oo_reap(oo_store store, int32_t limit, int32_t *deleted, oo_error **error)
{
	int32_t unasked;
	int code;
	if (deleted == NULL)
		deleted = &unasked;
	*deleted = 0;
	if ((code = enter(error)) != OO_OK)
		return code;
	if (limit < 1 || limit > 100000)
		return oi_fail(error, OO_EINVAL, "limit must be from 1 to 100000");
	return oiReap(store, limit, deleted, error);
}
