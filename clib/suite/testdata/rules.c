/* Reads lines of hexadecimal digits, "k" and a key or "h" and headers, and says of each whether it is taken: 1 or 0. No store is needed. */
#include "testing.h"

static int refuse(void *context, const char *sql, const oo_param *params, size_t count, oo_row *row)
{
	(void)context, (void)sql, (void)params, (void)count;
	oo_row_fail(row, "55000", "asked");
	return 1;
}

int main(void)
{
	static char line[1 << 16];
	static unsigned char raw[1 << 15];
	oo_executor db;
	memset(&db, 0, sizeof db);
	db.size = sizeof db;
	db.execute = refuse;
	while (fgets(line, sizeof line, stdin) != NULL) {
		oo_operation o = operation("k", NULL, NULL);
		oo_response r = response(200, "", "", 0);
		oo_result *result = NULL;
		size_t size = 0;
		unsigned digit;
		int code;
		while (sscanf(line + 1 + 2 * size, "%2x", &digit) == 1)
			raw[size++] = (unsigned char)digit;
		if (line[0] == 'k') {
			o.key = bytes(raw, size);
			code = oo_tx_begin(&db, &o, none(), &result, NULL);
			CHECK(code == OO_ESQL || code == OO_EKEY);
		} else {
			r.headers = bytes(raw, size);
			code = oo_tx_complete(&db, &o, none(), &r, 0, NULL);
			CHECK(code == OO_ESQL || code == OO_EINVAL);
		}
		putchar(code == OO_ESQL ? '1' : '0');
		putchar('\n');
	}
	return 0;
}
