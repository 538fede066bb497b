/* A panic in the library, of which this build has one at will, becomes an error; the store works on. */
#include "testing.h"

int main(void)
{
	oo_operation o = operation("panicking", NULL, NULL);
	oo_result *result = NULL;
	oo_store store = store_with("");
	oo_error *error = NULL;
	setenv("IGNORED", "1", 1);
	CHECK(oo_begin(store, &o, &result, &error) == OO_EINTERNAL);
	CHECK(result == NULL && error->code == OO_EINTERNAL && strstr(error->message, "panicked") != NULL && strstr(error->message, "probed") == NULL);
	oo_error_free(&error);
	CHECK(oo_begin(store, &o, &result, NULL) == OO_EINTERNAL);
	GOOD(oo_lookup(store, &o, &result, &error));
	CHECK(result->outcome == OO_ABSENT);
	oo_result_free(&result);
	GOOD(oo_close(store, &error));
	return 0;
}
