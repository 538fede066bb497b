/* Charges a card once, whatever is killed and however often it is started: charge CONNINFO KEY AMOUNT
 * Needs: CREATE TABLE charges (key text, amount bigint), and onlyonce's migrations with their functions. */
#include <onlyonce.h>
#include <onlyonce_libpq.h>
#include <stdio.h>

static int failed(const char *what, const char *why)
{
	fprintf(stderr, "%s: %s\n", what, why);
	return 1;
}

int main(int count, char **arguments)
{
	if (count != 4)
		return failed("usage", "charge CONNINFO KEY AMOUNT");
	PGconn *conn = PQconnectdb(arguments[1]);
	if (PQstatus(conn) != CONNECTION_OK || PQsetClientEncoding(conn, "UTF8") != 0)
		return failed("connect", PQerrorMessage(conn));

	oo_executor db = oo_libpq(conn);
	oo_error *error = NULL;
	oo_result *result = NULL;
	unsigned char fingerprint[OO_FINGERPRINT_SIZE];
	oo_bytes amount = { arguments[3], strlen(arguments[3]) };
	oo_fingerprint(NULL, 0, amount, fingerprint);
	oo_operation charge = { .scope = { "acme", 4 }, .key = { arguments[2], strlen(arguments[2]) }, .fingerprint = { fingerprint, sizeof fingerprint } };

	PQclear(PQexec(conn, "BEGIN"));
	if (oo_tx_begin(&db, &charge, (oo_bytes){ NULL, 0 }, &result, &error) != OO_OK)
		return failed("begin", error->message);
	if (result->outcome == OO_IN_PROGRESS || result->outcome == OO_MISMATCH)
		return failed("not charged", result->outcome == OO_MISMATCH ? "the key was used for another amount" : "in progress, try again");

	if (result->outcome == OO_EXECUTE) {
		const char *values[] = { arguments[2], arguments[3] };
		PGresult *inserted = PQexecParams(conn, "INSERT INTO charges VALUES ($1, $2)", 2, NULL, values, NULL, NULL, 0);
		if (PQresultStatus(inserted) != PGRES_COMMAND_OK)
			return failed("charge", PQerrorMessage(conn));
		oo_response created = { .status = 201, .body = { "charged", 7 } };
		if (oo_tx_complete(&db, &charge, (oo_bytes){ NULL, 0 }, &created, 0, &error) != OO_OK)
			return failed("complete", error->message);
	}
	PGresult *committed = PQexec(conn, "COMMIT"); /* both, or neither; and before a replay is answered, too */
	if (PQresultStatus(committed) != PGRES_COMMAND_OK || strcmp(PQcmdStatus(committed), "COMMIT") != 0)
		return failed("commit: try again with the same key", PQerrorMessage(conn));
	if (result->outcome == OO_REPLAY)
		return printf("%s (replayed)\n", (const char *)result->body.data), 0;
	puts("charged");
	return 0; /* the process ends, and with it connection, result and error */
}
