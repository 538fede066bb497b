/* Sixteen threads want each of many keys: one executes it, and all others end with its response. */
#include <pthread.h>
#include <stdatomic.h>
#include <sched.h>

#include "testing.h"

enum { THREADS = 16, KEYS = 100 };

static oo_store store;
static atomic_int executed[KEYS], replayed[KEYS];

static void *want(void *unused)
{
	(void)unused;
	for (int i = 0; i < KEYS; i++) {
		char key[32], answer[64];
		oo_result *result = NULL;
		int outcome = OO_IN_PROGRESS;
		snprintf(key, sizeof key, "key-%d", i);
		oo_operation o = operation(key, NULL, NULL);
		int size = snprintf(answer, sizeof answer, "answer to %s", key);
		oo_response r = response(200, "", answer, (size_t)size);
		while (outcome == OO_IN_PROGRESS) {
			GOOD(oo_begin(store, &o, &result, &error));
			outcome = result->outcome;
			if (outcome == OO_EXECUTE) {
				atomic_fetch_add(&executed[i], 1);
				GOOD(oo_complete(store, &o, result->owner, &r, NULL, &error));
			} else if (outcome == OO_REPLAY) {
				CHECK(same(result->body, answer, (size_t)size));
				atomic_fetch_add(&replayed[i], 1);
			} else {
				CHECK(outcome == OO_IN_PROGRESS);
				sched_yield();
			}
			oo_result_free(&result);
		}
		/* Handles come and go beside it. */
		if (i % 20 == 0) {
			oo_store other = store_with("");
			GOOD(oo_close(other, &error));
			BAD(OO_EHANDLE, oo_close(other, &error));
		}
	}
	return NULL;
}

/* One thread closes while the others are in calls: each call succeeds or says that the store is not open. */
static void *until_closed(void *at)
{
	for (;;) {
		oo_result *result = NULL;
		char key[32];
		snprintf(key, sizeof key, "closing-%d", *(int *)at);
		oo_operation o = operation(key, NULL, NULL);
		int code = oo_begin(store, &o, &result, NULL);
		oo_result_free(&result);
		if (code != OO_OK) {
			CHECK(code == OO_EHANDLE);
			return NULL;
		}
	}
}

int main(void)
{
	pthread_t threads[THREADS];
	int numbers[THREADS];
	store = store_with(",\"max_connections\":4,\"timeout_ms\":60000");
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, want, NULL) == 0);
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	for (int i = 0; i < KEYS; i++) {
		CHECK(executed[i] == 1);
		CHECK(replayed[i] == THREADS - 1);
	}
	for (int i = 0; i < THREADS; i++) {
		numbers[i] = i;
		CHECK(pthread_create(&threads[i], NULL, until_closed, &numbers[i]) == 0);
	}
	GOOD(oo_close(store, &error));
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	printf("%d keys, %d threads\n", KEYS, THREADS);
	return 0;
}
