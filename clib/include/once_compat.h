/*
 * once_compat.h: the six calls that simple idempotency libraries have, on onlyonce.h. For porting: new code calls onlyonce.h, whose oo_begin
 * checks and locks in one call.
 *
 * Where the others' once_check and once_lock race, these do not: once_lock reports a key that was completed in between as ONCE_DONE. Keys that
 * this process has locked are remembered in the once_t, by key, since these calls have no token; locks end by themselves after their time.
 * A once_t serves many threads. The scope is the one that once_init is given; a fingerprint is not compared.
 */
#ifndef ONCE_COMPAT_H
#define ONCE_COMPAT_H

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "onlyonce.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
	ONCE_OK = 0,     /* done */
	ONCE_DONE = 1,   /* a response is stored */
	ONCE_NONE = 2,   /* no response is stored */
	ONCE_LOCKED = 3, /* somebody else has the key */
	ONCE_ERROR = -1  /* see once_t.code */
};

typedef struct once_lock_entry {
	struct once_lock_entry *next;
	unsigned char owner[OO_OWNER_SIZE];
	size_t size;
	char key[OO_MAX_KEY];
} once_lock_entry;

typedef struct once_t {
	oo_store store;
	pthread_mutex_t mutex;
	once_lock_entry *locks;
	size_t scope_size;
	char scope[OO_MAX_KEY];
	int code; /* of the last error of any thread's: an OO_E... */
} once_t;

static inline int once_failed(once_t *once, int code)
{
	pthread_mutex_lock(&once->mutex);
	once->code = code;
	pthread_mutex_unlock(&once->mutex);
	return ONCE_ERROR;
}

static inline oo_operation once_operation(const once_t *once, const char *key)
{
	oo_operation operation;
	operation.scope.data = once->scope;
	operation.scope.size = once->scope_size;
	operation.key.data = key;
	operation.key.size = key == NULL ? 0 : strlen(key);
	operation.fingerprint.data = NULL;
	operation.fingerprint.size = 0;
	return operation;
}

/* Takes the entry of key off the list. NULL: this process has not locked it. */
static inline once_lock_entry *once_take(once_t *once, const oo_operation *operation)
{
	once_lock_entry **at, *found = NULL;
	pthread_mutex_lock(&once->mutex);
	for (at = &once->locks; *at != NULL; at = &(*at)->next) {
		if ((*at)->size == operation->key.size && memcmp((*at)->key, operation->key.data, (*at)->size) == 0) {
			found = *at;
			*at = found->next;
			break;
		}
	}
	pthread_mutex_unlock(&once->mutex);
	return found;
}

static inline void once_put(once_t *once, once_lock_entry *entry)
{
	pthread_mutex_lock(&once->mutex);
	entry->next = once->locks;
	once->locks = entry;
	pthread_mutex_unlock(&once->mutex);
}

/* Opens a store by oo_open's configuration, for the keys of scope. */
static inline int once_init(once_t *once, const char *config, const char *scope)
{
	int code;
	memset(once, 0, sizeof *once);
	pthread_mutex_init(&once->mutex, NULL);
	once->scope_size = scope == NULL ? 0 : strlen(scope);
	if (once->scope_size == 0 || once->scope_size > OO_MAX_KEY)
		return once_failed(once, OO_EKEY);
	memcpy(once->scope, scope, once->scope_size);
	code = oo_open(config, config == NULL ? 0 : strlen(config), &once->store, NULL);
	return code == OO_OK ? ONCE_OK : once_failed(once, code);
}

/* Closes it. Keys that are locked stay so until their time is over. */
static inline int once_destroy(once_t *once)
{
	int code = oo_close(once->store, NULL);
	while (once->locks != NULL) {
		once_lock_entry *entry = once->locks;
		once->locks = entry->next;
		free(entry);
	}
	return code == OO_OK ? ONCE_OK : once_failed(once, code);
}

/* ONCE_DONE and the stored response, which the caller frees by free; or ONCE_NONE, after which nothing may be done without once_lock. */
static inline int once_check(once_t *once, const char *key, char **response, size_t *size)
{
	oo_operation operation = once_operation(once, key);
	oo_result *result = NULL;
	int code = oo_lookup(once->store, &operation, &result, NULL), answer = ONCE_NONE;
	if (response != NULL)
		*response = NULL;
	if (size != NULL)
		*size = 0;
	if (code != OO_OK)
		return once_failed(once, code);
	if (result->outcome == OO_REPLAY) {
		answer = ONCE_DONE;
		if (response != NULL) {
			*response = (char *)malloc(result->body.size + 1);
			if (*response == NULL)
				answer = once_failed(once, OO_ENOMEM);
			else
				memcpy(*response, result->body.data, result->body.size + 1);
		}
		if (size != NULL)
			*size = result->body.size;
	}
	oo_result_free(&result);
	return answer;
}

/* ONCE_OK: the key is this process's for lock_ms (0: the configured time). ONCE_DONE: do nothing, once_check has the response. */
static inline int once_lock(once_t *once, const char *key, long lock_ms)
{
	oo_operation operation = once_operation(once, key);
	oo_result *result = NULL;
	once_lock_entry *entry;
	int code = oo_begin(once->store, &operation, &result, NULL), outcome;
	if (code != OO_OK)
		return once_failed(once, code);
	outcome = result->outcome;
	if (outcome != OO_EXECUTE) {
		oo_result_free(&result);
		return outcome == OO_IN_PROGRESS ? ONCE_LOCKED : ONCE_DONE;
	}
	if (lock_ms != 0)
		code = oo_extend(once->store, &operation, result->owner, lock_ms, NULL);
	entry = (once_lock_entry *)malloc(sizeof *entry);
	if (code != OO_OK || entry == NULL) {
		oo_release(once->store, &operation, result->owner, NULL);
		oo_result_free(&result);
		free(entry);
		return once_failed(once, code != OO_OK ? code : OO_ENOMEM);
	}
	memcpy(entry->owner, result->owner.data, OO_OWNER_SIZE);
	entry->size = operation.key.size;
	memcpy(entry->key, operation.key.data, entry->size);
	oo_result_free(&result);
	free(once_take(once, &operation)); /* of an earlier lock, whose time was over */
	once_put(once, entry);
	return ONCE_OK;
}

/*
 * Stores the response of a key that this process has locked, and unlocks it. ONCE_LOCKED: it has not, or the lock was taken over meanwhile;
 * nothing was stored. After ONCE_ERROR the key is locked still: call again.
 */
static inline int once_store(once_t *once, const char *key, const char *response, size_t size)
{
	oo_operation operation = once_operation(once, key);
	once_lock_entry *entry = once_take(once, &operation);
	oo_response stored;
	oo_bytes owner;
	int code;
	if (entry == NULL)
		return ONCE_LOCKED;
	memset(&stored, 0, sizeof stored);
	stored.body.data = response;
	stored.body.size = size;
	owner.data = entry->owner;
	owner.size = OO_OWNER_SIZE;
	code = oo_complete(once->store, &operation, owner, &stored, NULL, NULL);
	if (code == OO_OK || code == OO_ELEASE) {
		free(entry);
		return code == OO_OK ? ONCE_OK : ONCE_LOCKED;
	}
	once_put(once, entry);
	return once_failed(once, code);
}

/* Gives a key back for which nothing has been done. ONCE_LOCKED: this process has not locked it, or not any more. */
static inline int once_unlock(once_t *once, const char *key)
{
	oo_operation operation = once_operation(once, key);
	once_lock_entry *entry = once_take(once, &operation);
	oo_bytes owner;
	int code;
	if (entry == NULL)
		return ONCE_LOCKED;
	owner.data = entry->owner;
	owner.size = OO_OWNER_SIZE;
	code = oo_release(once->store, &operation, owner, NULL);
	if (code == OO_OK || code == OO_ELEASE) {
		free(entry);
		return code == OO_OK ? ONCE_OK : ONCE_LOCKED;
	}
	once_put(once, entry);
	return once_failed(once, code);
}

#ifdef __cplusplus
}
#endif

#endif
