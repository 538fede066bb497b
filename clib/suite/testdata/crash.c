/* Charges once, and kills itself at the point that is its first argument: there is no clean-up of any kind. */
#include <signal.h>
#include <unistd.h>

#include "onlyonce_libpq.h"
#include "testing.h"

static const char *point;

static void here(const char *name)
{
	if (strcmp(point, name) == 0)
		kill(getpid(), SIGKILL);
}

int main(int count, char **arguments)
{
	unsigned char print[OO_FINGERPRINT_SIZE];
	oo_operation charge;
	oo_response done = response(201, "", "charged", 7);
	oo_result *result = NULL;
	PGconn *conn = PQconnectdb(getenv("SUITE_URL"));
	oo_executor db = oo_libpq(conn);
	char insert[256];
	CHECK(count == 3 && PQstatus(conn) == CONNECTION_OK && PQsetClientEncoding(conn, "UTF8") == 0);
	point = arguments[1];
	charge = operation(arguments[2], "5 EUR", print);
	db.schema = getenv("SUITE_SCHEMA");
	PQclear(PQexec(conn, "BEGIN"));
	here("begun");
	GOOD(oo_tx_begin(&db, &charge, none(), &result, &error));
	here("claimed");
	if (result->outcome == OO_EXECUTE) {
		snprintf(insert, sizeof insert, "INSERT INTO %s.charges (key) VALUES ('%s')", db.schema, arguments[2]);
		PGresult *answer = PQexec(conn, insert);
		CHECK(PQresultStatus(answer) == PGRES_COMMAND_OK);
		PQclear(answer);
		here("between effect and completion");
		GOOD(oo_tx_complete(&db, &charge, none(), &done, 0, &error));
		here("between completion and commit");
		if (strcmp(point, "commit sent") == 0) {
			CHECK(PQsendQuery(conn, "COMMIT") == 1 && PQflush(conn) == 0);
			here("commit sent");
		}
		answer = PQexec(conn, "COMMIT");
		CHECK(PQresultStatus(answer) == PGRES_COMMAND_OK);
		PQclear(answer);
		here("committed");
		puts("executed");
	} else if (result->outcome == OO_REPLAY) {
		CHECK(result->status == 201 && same(result->body, "charged", 7));
		puts("replayed");
	} else {
		CHECK(result->outcome == OO_IN_PROGRESS);
		puts("in progress");
	}
	oo_result_free(&result);
	PQfinish(conn);
	return 0;
}
