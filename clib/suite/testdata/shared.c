/* Reads what a Go program has stored, and stores what that will read, in both families. */
#include "onlyonce_libpq.h"
#include "testing.h"

int main(void)
{
	static const char lent[] = "by C, lent\0\xff", owned[] = "by C, in its transaction\0\xff", go[] = "by Go\0\xff";
	unsigned char print[OO_FINGERPRINT_SIZE];
	oo_operation o = operation("go", "from Go", print);
	oo_response r = response(201, "Location: /c\r\n", lent, sizeof lent - 1);
	oo_result *result = NULL;
	oo_store store = store_with("");
	PGconn *conn = PQconnectdb(getenv("SUITE_URL"));
	oo_executor db = oo_libpq(conn);
	db.schema = getenv("SUITE_SCHEMA");
	CHECK(PQsetClientEncoding(conn, "UTF8") == 0);

	GOOD(oo_begin(store, &o, &result, &error));
	CHECK(result->outcome == OO_REPLAY && result->status == 202 && same(result->body, go, sizeof go - 1) && same(result->headers, "Content-Type: text/plain\r\n", 26));
	oo_result_free(&result);
	PQclear(PQexec(conn, "BEGIN"));
	GOOD(oo_tx_begin(&db, &o, none(), &result, &error));
	CHECK(result->outcome == OO_REPLAY && result->status == 202 && same(result->body, go, sizeof go - 1) && same(result->headers, "Content-Type: text/plain\r\n", 26));
	oo_result_free(&result);

	o = operation("c-transaction", "from C", print);
	r.body = bytes(owned, sizeof owned - 1);
	GOOD(oo_tx_begin(&db, &o, none(), &result, &error));
	oo_result_free(&result);
	GOOD(oo_tx_complete(&db, &o, none(), &r, 0, &error));
	PQclear(PQexec(conn, "COMMIT"));
	PQfinish(conn);

	o.key = text("c-lease");
	r.body = bytes(lent, sizeof lent - 1);
	GOOD(oo_begin(store, &o, &result, &error));
	GOOD(oo_complete(store, &o, result->owner, &r, NULL, &error));
	oo_result_free(&result);
	GOOD(oo_close(store, &error));
	return 0;
}
