/* The six calls of once_compat.h. */
#include "once_compat.h"
#include "testing.h"

int main(void)
{
	char config[2048], *stored = NULL;
	size_t size = 0;
	once_t mine, theirs;
	int tries, locked = ONCE_LOCKED;

	snprintf(config, sizeof config, "{\"dsn\":\"%s\",\"schema\":\"%s\"}", getenv("SUITE_URL"), getenv("SUITE_SCHEMA"));
	CHECK(once_init(&mine, "{\"host\":\"x\"}", "acme") == ONCE_ERROR && mine.code == OO_ECONFIG);
	CHECK(once_init(&mine, config, "") == ONCE_ERROR && mine.code == OO_EKEY);
	CHECK(once_init(&mine, config, "acme") == ONCE_OK);
	CHECK(once_init(&theirs, config, "acme") == ONCE_OK);

	CHECK(once_check(&mine, "k", &stored, &size) == ONCE_NONE && stored == NULL);
	CHECK(once_store(&mine, "k", "x", 1) == ONCE_LOCKED);
	CHECK(once_unlock(&mine, "k") == ONCE_LOCKED);
	CHECK(once_lock(&mine, "k", 60000) == ONCE_OK);
	CHECK(once_lock(&mine, "k", 0) == ONCE_LOCKED);
	CHECK(once_lock(&theirs, "k", 0) == ONCE_LOCKED);
	CHECK(once_store(&theirs, "k", "x", 1) == ONCE_LOCKED);
	CHECK(once_unlock(&mine, "k") == ONCE_OK);
	CHECK(once_lock(&theirs, "k", 0) == ONCE_OK);
	CHECK(once_store(&theirs, "k", "a\0b", 3) == ONCE_OK);
	CHECK(once_check(&mine, "k", &stored, &size) == ONCE_DONE && size == 3 && memcmp(stored, "a\0b", 4) == 0);
	free(stored);
	CHECK(once_lock(&mine, "k", 0) == ONCE_DONE);
	CHECK(once_lock(&mine, "", 0) == ONCE_ERROR && mine.code == OO_EKEY);
	CHECK(once_lock(&mine, NULL, 0) == ONCE_ERROR && mine.code == OO_EKEY);
	/* Several at a time, and one whose time is over. */
	CHECK(once_lock(&mine, "first", 0) == ONCE_OK && once_lock(&mine, "second", 0) == ONCE_OK);
	CHECK(once_unlock(&mine, "second") == ONCE_OK && once_unlock(&mine, "first") == ONCE_OK);
	CHECK(once_lock(&mine, "short", 1) == ONCE_OK);
	for (tries = 0; tries < 10000 && (locked = once_lock(&theirs, "short", 0)) == ONCE_LOCKED; tries++)
		continue;
	CHECK(locked == ONCE_OK && once_store(&mine, "short", "x", 1) == ONCE_LOCKED && once_store(&theirs, "short", "x", 1) == ONCE_OK);
	CHECK(once_lock(&mine, "left", 0) == ONCE_OK);
	CHECK(once_destroy(&mine) == ONCE_OK);
	CHECK(once_destroy(&mine) == ONCE_ERROR && mine.code == OO_EHANDLE);
	CHECK(once_destroy(&theirs) == ONCE_OK);
	return 0;
}
