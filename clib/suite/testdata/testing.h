/* What the programs of the suite share. They are compiled as C11 and as C++17. */
#ifndef TESTING_H
#define TESTING_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "onlyonce.h"

#define CHECK(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
			exit(1); \
		} \
	} while (0)

/* The call must succeed; else its error is printed. */
#define GOOD(call) \
	do { \
		oo_error *error = NULL; \
		int code = (call); \
		if (code != OO_OK) { \
			fprintf(stderr, "%s:%d: %s: %s %s: %s\n", __FILE__, __LINE__, #call, oo_code_name(code), error ? error->sqlstate : "", error ? error->message : ""); \
			exit(1); \
		} \
		CHECK(error == NULL); \
	} while (0)

/* The call must fail with this code, an error that names it, and a message. */
#define BAD(want, call) \
	do { \
		oo_error *error = NULL; \
		int code = (call); \
		if (code != (want)) { \
			fprintf(stderr, "%s:%d: %s: got %s, want %s: %s\n", __FILE__, __LINE__, #call, oo_code_name(code), oo_code_name(want), error ? error->message : ""); \
			exit(1); \
		} \
		CHECK(error != NULL && error->code == (want) && strlen(error->message) > 10); \
		oo_error_free(&error); \
		CHECK(error == NULL); \
	} while (0)

static inline oo_bytes bytes(const void *data, size_t size)
{
	oo_bytes b;
	b.data = data;
	b.size = size;
	return b;
}

static inline oo_bytes text(const char *words) { return bytes(words, strlen(words)); }

static inline oo_bytes none(void) { return bytes(NULL, 0); }

static inline int same(oo_bytes got, const void *data, size_t size) { return got.size == size && memcmp(got.data, data, size) == 0; }

/* An operation of the tenant acme with a fingerprint of body; NULL: with none. print has room for it. */
static inline oo_operation operation(const char *key, const char *body, unsigned char *print)
{
	oo_operation o;
	o.scope = text("acme");
	o.key = text(key);
	o.fingerprint = none();
	if (body != NULL) {
		CHECK(oo_fingerprint(NULL, 0, text(body), print) == OO_OK);
		o.fingerprint = bytes(print, OO_FINGERPRINT_SIZE);
	}
	return o;
}

static inline oo_response response(int status, const char *headers, const void *body, size_t size)
{
	oo_response r;
	r.status = status;
	r.headers = text(headers);
	r.body = bytes(body, size);
	return r;
}

/* Opens a store on the database and schema that the suite names, with more members, such as ",\"lease_ms\":5". */
static inline oo_store store_with(const char *more)
{
	char config[2048];
	oo_store store = 0;
	snprintf(config, sizeof config, "{\"dsn\":\"%s\",\"schema\":\"%s\"%s}", getenv("SUITE_URL"), getenv("SUITE_SCHEMA"), more);
	GOOD(oo_open(config, strlen(config), &store, &error));
	return store;
}

#endif
