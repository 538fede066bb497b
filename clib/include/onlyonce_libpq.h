/*
 * onlyonce_libpq.h: the executor of onlyonce.h for libpq. Compile with libpq's headers, link with -lpq.
 *
 *   oo_executor db = oo_libpq(conn);
 *   PQexec(conn, "BEGIN") ... oo_tx_begin(&db, ...) ... PQexec(conn, "COMMIT")
 *
 * Each call is one PQexecParams. The connection must not be in pipeline mode, or in the middle of a query; its client_encoding is UTF8.
 */
#ifndef ONLYONCE_LIBPQ_H
#define ONLYONCE_LIBPQ_H

#include <libpq-fe.h>
#include <string.h>

#include "onlyonce.h"

#ifdef __cplusplus
extern "C" {
#endif

#define OO_LIBPQ_PARAMS 16

static inline int oo_libpq_execute(void *context, const char *sql, const oo_param *params, size_t count, oo_row *row)
{
	PGconn *conn = (PGconn *)context;
	Oid types[OO_LIBPQ_PARAMS];
	const char *values[OO_LIBPQ_PARAMS];
	int sizes[OO_LIBPQ_PARAMS];
	int formats[OO_LIBPQ_PARAMS];
	size_t i;
	int column, failed = 0;
	PGresult *answer;

	if (count > OO_LIBPQ_PARAMS) {
		oo_row_fail(row, "54023", "onlyonce_libpq.h is older than the library: it takes fewer parameters");
		return 1;
	}
	/* Without a transaction each statement would commit by itself, and nothing would hold the key. */
	if (PQstatus(conn) == CONNECTION_OK && PQtransactionStatus(conn) == PQTRANS_IDLE) {
		oo_row_fail(row, "25P01", "no transaction is open on the connection: send BEGIN first");
		return 1;
	}
	for (i = 0; i < count; i++) {
		types[i] = params[i].type == OO_BYTEA ? 17 : 25; /* bytea, text: fixed in every PostgreSQL */
		values[i] = params[i].null ? NULL : (const char *)params[i].data;
		sizes[i] = (int)params[i].size;
		formats[i] = 1; /* binary: the bytes themselves, with their size */
	}
	/* Keys are UTF-8: under another encoding the server would take their bytes for another text, and so for another key. */
	if (PQstatus(conn) == CONNECTION_OK && strcmp(pg_encoding_to_char(PQclientEncoding(conn)), "UTF8") != 0) {
		oo_row_fail(row, "22021", "the connection's client_encoding is not UTF8: call PQsetClientEncoding(conn, \"UTF8\")");
		return 1;
	}
	answer = PQexecParams(conn, sql, (int)count, types, values, sizes, formats, 1);
	if (PQresultStatus(answer) != PGRES_TUPLES_OK) {
		const char *text = PQresultErrorField(answer, PG_DIAG_MESSAGE_PRIMARY);
		const char *state = PQresultErrorField(answer, PG_DIAG_SQLSTATE);
		if (state == NULL && PQstatus(conn) == CONNECTION_OK)
			state = ""; /* libpq itself has refused, in pipeline mode, say: another connection would not help */
		oo_row_fail(row, state, text != NULL ? text : PQerrorMessage(conn));
		failed = 1;
	}
	for (column = 0; !failed && PQntuples(answer) == 1 && column < PQnfields(answer); column++) {
		int null = PQgetisnull(answer, 0, column);
		failed = oo_row_value(row, (size_t)column, null ? NULL : PQgetvalue(answer, 0, column), null ? 0 : (size_t)PQgetlength(answer, 0, column));
	}
	PQclear(answer);
	return failed;
}

/* The executor for conn, which it borrows. Set its schema where the functions are not in the search_path. */
static inline oo_executor oo_libpq(PGconn *conn)
{
	oo_executor executor;
	executor.size = sizeof executor;
	executor.context = conn;
	executor.execute = oo_libpq_execute;
	executor.schema = NULL;
	return executor;
}

#ifdef __cplusplus
}
#endif

#endif
