/* Makes the mistake that its argument names, for the sanitizer to find. */
#include "testing.h"

int main(int count, char **arguments)
{
	oo_operation o = operation("sanitized", NULL, NULL);
	oo_result *result = NULL, *copy;
	oo_store store = store_with("");
	const char *fault = count > 1 ? arguments[1] : "";
	GOOD(oo_begin(store, &o, &result, &error));
	copy = result;
	if (strcmp(fault, "leak") == 0)
		result = copy = NULL;
	oo_result_free(&result);
	if (strcmp(fault, "use after free") == 0)
		printf("%d\n", copy->outcome);
	GOOD(oo_close(store, &error));
	return 0;
}
