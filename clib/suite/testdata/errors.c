/* Everything that is refused, and what is said of it. */
#include "testing.h"

static void is_refused(const char *config, const char *says)
{
	oo_store store = 99;
	oo_error *error = NULL;
	CHECK(oo_open(config, strlen(config), &store, &error) == OO_ECONFIG);
	CHECK(store == 0 && error != NULL);
	if (strstr(error->message, says) == NULL || strstr(error->message, "hunter2") != NULL) {
		fprintf(stderr, "%s: %s: want %s\n", config, error->message, says);
		exit(1);
	}
	CHECK(error->code == OO_ECONFIG && !error->retryable && error->sqlstate[0] == 0);
	oo_error_free(&error);
	CHECK(oo_open(config, strlen(config), &store, NULL) == OO_ECONFIG);
}

int main(void)
{
	unsigned char print[OO_FINGERPRINT_SIZE];
	char long_key[257];
	oo_operation good = operation("k", "b", print), bad;
	oo_response ok = response(200, "", "x", 1), wrong;
	oo_result *result = (oo_result *)print;
	oo_error *error = NULL;
	oo_store store, second;
	int32_t deleted = 7;
	static char large[(1 << 16) + 2];
	static const char cut[] = "\xc3", nul[] = "a\0b", half[] = "\xed\xa0\x80", escape[] = "a\x1b[0m", blank[] = " \xc2\xa0 ";

	is_refused("", "JSON object");
	is_refused("[]", "JSON object");
	memset(large, ' ', sizeof large - 1);
	is_refused(large, "larger");
	is_refused("{\"dsn\":\"postgres://u:hunter2@h/x\"", "JSON object");
	is_refused("{\"dsn\":\"postgres://u:hunter2@h/x\"} {}", "JSON object");
	is_refused("{}", "dsn is missing");
	is_refused("{\"dsn\":7}", "dsn must be a string");
	is_refused("{\"dsn\":\"postgres://u:hunter2@h:port/x\"}", "dsn cannot be read");
	is_refused("{\"dsn\":\"x\",\"hunter2\":1}", "not known");
	is_refused("{\"DSN\":\"x\"}", "not known");
	is_refused("{\"dsn\":\"x\",\"dsn\":\"y\"}", "dsn is there twice");
	is_refused("{\"dsn\":\"postgres://h/x\",\"lease_ms\":0}", "lease_ms must be");
	is_refused("{\"dsn\":\"postgres://h/x\",\"lease_ms\":1.5}", "lease_ms must be");
	is_refused("{\"dsn\":\"postgres://h/x\",\"max_connections\":\"8\"}", "max_connections must be");
	is_refused("{\"dsn\":\"postgres://h/x\",\"pooler\":1}", "pooler must be");
	is_refused("{\"dsn\":\"postgres://h/x\",\"schema\":\"a\\u0000b\"}", "schema must be");

	/* A store is a number that names one store and never another. */
	store = store_with("");
	GOOD(oo_close(store, &error));
	BAD(OO_EHANDLE, oo_close(store, &error));
	second = store_with("");
	CHECK(second != store);
	BAD(OO_EHANDLE, oo_close(store, &error));
	BAD(OO_EHANDLE, oo_check(store, &error));
	BAD(OO_EHANDLE, oo_begin(store, &good, &result, &error));
	CHECK(result == NULL);
	BAD(OO_EHANDLE, oo_complete(store, &good, bytes(print, OO_OWNER_SIZE), &ok, NULL, &error));
	BAD(OO_EHANDLE, oo_extend(store, &good, bytes(print, OO_OWNER_SIZE), 0, &error));
	BAD(OO_EHANDLE, oo_release(store, &good, bytes(print, OO_OWNER_SIZE), &error));
	BAD(OO_EHANDLE, oo_lookup(store, &good, &result, &error));
	BAD(OO_EHANDLE, oo_reap(store, 1, NULL, &error));
	BAD(OO_EHANDLE, oo_close(0, &error));
	BAD(OO_EHANDLE, oo_close(second + 1, &error));
	BAD(OO_EHANDLE, oo_close((oo_store)-1, &error));
	store = second;

	/* Keys: bytes of UTF-8 without control characters. */
	memset(long_key, 'k', sizeof long_key);
	bad = good;
	bad.key = bytes(cut, 1);
	BAD(OO_EKEY, oo_begin(store, &bad, &result, &error));
	bad.key = bytes(nul, 3);
	BAD(OO_EKEY, oo_begin(store, &bad, &result, &error));
	bad.key = text(half);
	BAD(OO_EKEY, oo_begin(store, &bad, &result, &error));
	bad.key = text(escape);
	BAD(OO_EKEY, oo_begin(store, &bad, &result, &error));
	bad.key = text(blank);
	BAD(OO_EKEY, oo_begin(store, &bad, &result, &error));
	bad.key = bytes(long_key, 256);
	BAD(OO_EKEY, oo_begin(store, &bad, &result, &error));
	bad.key = none();
	BAD(OO_EKEY, oo_begin(store, &bad, &result, &error));
	bad.key = bytes(NULL, 3);
	BAD(OO_EKEY, oo_begin(store, &bad, &result, &error));
	bad.key = bytes(long_key, 255);
	GOOD(oo_begin(store, &bad, &result, &error));
	CHECK(result->outcome == OO_EXECUTE);
	oo_result_free(&result);
	bad = good;
	bad.scope = none();
	BAD(OO_EKEY, oo_lookup(store, &bad, &result, &error));
	bad = good;
	bad.fingerprint.size = 32;
	BAD(OO_EINVAL, oo_begin(store, &bad, &result, &error));

	/* Arguments. */
	BAD(OO_EINVAL, oo_begin(store, NULL, &result, &error));
	BAD(OO_EINVAL, oo_begin(store, &good, NULL, &error));
	BAD(OO_EINVAL, oo_complete(store, &good, bytes(print, 15), &ok, NULL, &error));
	BAD(OO_EINVAL, oo_complete(store, &good, none(), &ok, NULL, &error));
	BAD(OO_EINVAL, oo_complete(store, &good, bytes(print, 16), NULL, NULL, &error));
	wrong = response(199, "", "", 0);
	BAD(OO_EINVAL, oo_complete(store, &good, bytes(print, 16), &wrong, NULL, &error));
	wrong = response(200, "Set-Cookie: a\r\n", "", 0);
	BAD(OO_EINVAL, oo_complete(store, &good, bytes(print, 16), &wrong, NULL, &error));
	wrong = response(200, "", NULL, 5);
	BAD(OO_EINVAL, oo_complete(store, &good, bytes(print, 16), &wrong, NULL, &error));
	wrong = response(200, "", "x", (size_t)OO_MAX_BODY + 1);
	BAD(OO_ETOOLARGE, oo_complete(store, &good, bytes(print, 16), &wrong, NULL, &error));
	wrong = response(600, "", "", 0);
	BAD(OO_EINVAL, oo_complete(store, &good, bytes(print, 16), &wrong, NULL, &error));
	wrong = response(200, "", "", 0);
	wrong.headers.size = (size_t)OO_MAX_HEADERS + 1;
	BAD(OO_ETOOLARGE, oo_complete(store, &good, bytes(print, 16), &wrong, NULL, &error));
	BAD(OO_EINVAL, oo_release(store, &good, bytes(NULL, 16), &error));
	bad = good;
	bad.fingerprint.data = NULL;
	BAD(OO_EINVAL, oo_begin(store, &bad, &result, &error));
	BAD(OO_EINVAL, oo_extend(store, &good, bytes(print, 16), -1, &error));
	BAD(OO_EINVAL, oo_extend(store, &good, bytes(print, 16), 24 * 60 * 60 * 1000 + 1, &error));
	BAD(OO_EINVAL, oo_reap(store, 0, NULL, &error));
	BAD(OO_EINVAL, oo_reap(store, 100001, &deleted, &error));
	CHECK(deleted == 0);
	BAD(OO_EINVAL, oo_open(NULL, 0, &second, &error));
	BAD(OO_EINVAL, oo_open("{}", 2, NULL, &error));
	CHECK(oo_fingerprint(NULL, 1, none(), print) == OO_EINVAL);
	CHECK(oo_begin(store, NULL, NULL, NULL) == OO_EINVAL);
	CHECK(oo_check(0, NULL) == OO_EHANDLE);

	/* The database's own words: a table that is not there, and a server that is not there. */
	GOOD(oo_close(store, &error));
	store = store_with(",\"timeout_ms\":2000");
	oo_error_free(&error);
	oo_result_free(&result);
	oo_error_free(NULL);
	oo_result_free(NULL);
	GOOD(oo_close(store, &error));
	{
		static const char away[] = "{\"dsn\":\"postgres://nobody:hunter2@127.0.0.1:1/x?connect_timeout=1\",\"timeout_ms\":1000}";
		GOOD(oo_open(away, sizeof away - 1, &store, &error));
		CHECK(oo_begin(store, &good, &result, &error) == OO_EUNAVAILABLE);
		CHECK(error->retryable && error->retry_after_ms > 0 && strstr(error->message, "hunter2") == NULL);
		oo_error_free(&error);
		GOOD(oo_close(store, &error));
	}
	{
		char config[1024];
		snprintf(config, sizeof config, "{\"dsn\":\"%s\",\"schema\":\"nowhere at all\"}", getenv("SUITE_URL"));
		GOOD(oo_open(config, strlen(config), &store, &error));
		CHECK(oo_begin(store, &good, &result, &error) != OO_OK);
		if (strcmp(error->sqlstate, "42P01") != 0)
			fprintf(stderr, "%s %s\n", oo_code_name(error->code), error->message);
		CHECK(strcmp(error->sqlstate, "42P01") == 0);
		oo_error_free(&error);
		BAD(OO_ECONFIG, oo_check(store, &error));
		GOOD(oo_close(store, &error));
	}

	CHECK(oo_abi_version() == OO_ABI_VERSION);
	CHECK(strcmp(oo_code_name(OO_EHELD), "OO_EHELD") == 0 && strcmp(oo_code_name(OO_EHELD + 1), "OO_?") == 0 && strcmp(oo_code_name(-1), "OO_?") == 0);
	return 0;
}
