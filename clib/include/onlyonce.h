/*
 * onlyonce.h: an operation takes effect once per idempotency key, and every retry gets the stored response.
 *
 * Two families of calls. What they promise differs:
 *
 *   oo_tx_...  on the caller's own connection, in the caller's own transaction. The effect and the response are one commit: exactly once,
 *              whatever is killed. They need the SQL functions of onlyonce (migrations/functions) in the database.
 *   oo_...     on connections of the library's own. A key is lent to one owner for a time; the effect is outside of the commit that stores
 *              the response. Once, but for an owner that dies, or stands still for longer than the lease, between the two: see oo_begin.
 *
 * Rules for all of it:
 *
 *   - Text and bytes are a pointer and a size. Nothing that is passed in is kept, or changed. A field of size 0 may have a NULL pointer.
 *   - A call returns OO_OK or one of the codes below. A pointer to an error may be NULL; else it is set to NULL on success, and on failure to an
 *     oo_error that the caller frees. Where memory has run out it stays NULL: the code counts.
 *   - A result is set to NULL on failure. Results and errors are the library's: free them with oo_result_free and oo_error_free.
 *   - All functions may be called by many threads at once. One executor, as one connection, serves one thread at a time.
 *   - Keys, bodies, fingerprints and owner tokens are in no error's message.
 *   - A store is a number. Once closed it stays invalid: using or closing it again is OO_EHANDLE.
 *   - In the child of a fork the oo_... calls on a store return OO_EFORK at once. All others, the oo_tx_... family too, work there.
 */
#ifndef ONLYONCE_H
#define ONLYONCE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define OO_API __attribute__((visibility("default")))
#else
#define OO_API
#endif

/* The binary interface of this header. A library serves programs that were compiled against the same number. */
#define OO_ABI_VERSION 1

/* The binary interface of the library that is loaded: compare it with OO_ABI_VERSION where the two are not installed together. */
OO_API uint32_t oo_abi_version(void);

/* What a call returns. Numbers are never given another meaning. */
enum {
	OO_OK = 0,
	OO_EINVAL = 1,         /* an argument is wrong: the message says which */
	OO_EHANDLE = 2,        /* the store is not open, or not any more */
	OO_EFORK = 3,          /* the process was forked after the library was loaded: open a store in a process of its own */
	OO_EINTERNAL = 4,      /* a bug in the library; nothing is known about the outcome */
	OO_ENOMEM = 5,         /* out of memory */
	OO_ECONFIG = 6,        /* the configuration, or the database that it names, is wrong: the message says where */
	OO_EKEY = 7,           /* the key or the scope cannot be stored: see oo_operation */
	OO_ETOOLARGE = 8,      /* more than OO_MAX_BODY or OO_MAX_HEADERS */
	OO_EUNAVAILABLE = 9,   /* the database cannot be asked: try again with the same key */
	OO_EUNKNOWN = 10,      /* it may be stored and may not be: try again with the same arguments */
	OO_ELEASE = 11,        /* the key is not this owner's any more: its outcome is another one's to tell */
	OO_EUNREADABLE = 12,   /* what is stored is damaged */
	OO_ECONFLICT = 13,     /* another transaction came first: roll back, and begin again with the same key */
	OO_ESQL = 14,          /* the database refused a statement: see sqlstate */
	OO_EEXECUTOR = 15,     /* the executor broke its contract: see oo_executor */
	OO_ETRANSACTION = 16,  /* no transaction is open, or not the one that has begun the operation */
	OO_EHELD = 17          /* an operator has to look at what an earlier attempt has done */
};

/* The constant name of a code, such as "OO_ELEASE"; "OO_?" for no code. */
OO_API const char *oo_code_name(int code);

typedef struct oo_bytes {
	const void *data;
	size_t size;
} oo_bytes;

/* Frees nothing if error is NULL or *error is; sets *error to NULL. */
typedef struct oo_error {
	int32_t code;           /* one of those above */
	int32_t retryable;      /* 1: the same call can succeed later (in the oo_tx_ family: after a ROLLBACK, from oo_tx_begin on) */
	int32_t retry_after_ms; /* how long to wait before; 0 where that makes no sense */
	char sqlstate[6];       /* the database's own code, or "" */
	const char *message;    /* what happened and what to do, for the operator; ends with a NUL */
} oo_error;

OO_API void oo_error_free(oo_error **error);

#define OO_FINGERPRINT_SIZE 33
#define OO_OWNER_SIZE 16
#define OO_MAX_KEY 255
#define OO_MAX_HEADERS (1 << 20)
#define OO_MAX_BODY (64 << 20)

/*
 * Which operation, and whose. scope is the tenant, from the authenticated identity: two scopes never see each other's keys. scope and key
 * have 1 to OO_MAX_KEY bytes of UTF-8 without control characters, and are not blank; else OO_EKEY.
 * fingerprint tells requests apart that carry one key: OO_FINGERPRINT_SIZE bytes of oo_fingerprint's, or none. On a store none compares
 * nothing. In a transaction none is a fingerprint like others, of 33 zero bytes: with a key that has another one it is OO_MISMATCH.
 */
typedef struct oo_operation {
	oo_bytes scope;
	oo_bytes key;
	oo_bytes fingerprint;
} oo_operation;

/*
 * What every retry is answered by. status is an HTTP status from 200 to 599, or 0 outside of HTTP. headers has "Name: value\r\n" for each, names
 * in their canonical case (Content-Type), none that belongs to one connection, moment or credential (Set-Cookie, Date ...); or OO_EINVAL.
 */
typedef struct oo_response {
	int32_t status;
	oo_bytes headers;
	oo_bytes body;
} oo_response;

enum {
	OO_EXECUTE = 1,     /* do it, then complete it: nobody else does meanwhile */
	OO_REPLAY = 2,      /* it is done: status, headers and body are the stored response */
	OO_IN_PROGRESS = 3, /* somebody else is at it: try again later with the same key (HTTP: 409) */
	OO_MISMATCH = 4,    /* the key was used for another request: nothing must be done (HTTP: 422) */
	OO_ABSENT = 5       /* of oo_lookup alone: no response is stored */
};

/* Each field's data is followed by a NUL that its size does not count, so that text can be printed. */
typedef struct oo_result {
	int32_t outcome;         /* one of those above */
	int32_t status;          /* OO_REPLAY */
	int32_t attempt;         /* OO_EXECUTE: from 1; above that an earlier owner has left the key without an outcome */
	int32_t reserved;
	oo_bytes owner;          /* OO_EXECUTE: the token that completes, extends or releases; a secret. Empty in a transaction without checkpoints */
	oo_bytes headers;        /* OO_REPLAY */
	oo_bytes body;           /* OO_REPLAY */
	oo_bytes recovery_point; /* OO_EXECUTE in a transaction: where an earlier attempt has got to, or empty */
	oo_bytes steps;          /* the same: what it has kept there */
} oo_result;

/* Frees nothing if result is NULL or *result is; sets *result to NULL. */
OO_API void oo_result_free(oo_result **result);

/*
 * The fingerprint of a request, as the Go library and the SQL function idempotency_fingerprint make it (version 1, SHA-256): of the parts that
 * make it what it is, in their order, and of its body. docs/protocol.md says which parts an HTTP request has.
 */
OO_API int oo_fingerprint(const oo_bytes *parts, size_t count, oo_bytes body, unsigned char fingerprint[OO_FINGERPRINT_SIZE]);

/* ---- The caller's own transaction: exactly once ---------------------------------------------------------------------------------------- */

/* One parameter of a statement: $1, $2 ... in order. */
enum { OO_TEXT = 1 /* text, UTF-8 */, OO_BYTEA = 2 /* bytea: the bytes themselves */ };

typedef struct oo_param {
	int32_t type;
	int32_t null;     /* 1: NULL, whatever data is */
	const void *data; /* not NULL unless null is 1; ends with no NUL */
	size_t size;
} oo_param;

/* What a statement returned; it lives as long as the call of execute. */
typedef struct oo_row oo_row;

/*
 * Runs statements on the caller's connection, in the caller's open transaction. onlyonce_libpq.h has one for libpq.
 *
 * execute sends sql with its parameters, waits for the end, and calls oo_row_value for each column of the one row that there is; values are
 * text or bytea, as bytes. It returns 0. Where the database refuses, it calls oo_row_fail and returns another number. It neither begins nor
 * ends a transaction, is called by the thread that called the library, and must not call it again but for those two.
 */
typedef struct oo_executor {
	size_t size;        /* sizeof(oo_executor) */
	void *context;      /* passed to execute */
	int (*execute)(void *context, const char *sql, const oo_param *params, size_t count, oo_row *row);
	const char *schema; /* where the functions are; NULL: the search_path decides */
} oo_executor;

/* Sets a column, counted from 0, to a copy of data; NULL data is SQL's NULL. Returns 0; else 1, and execute returns with that. */
OO_API int oo_row_value(oo_row *row, size_t column, const void *data, size_t size);

/* Says why the statement failed. sqlstate has five characters; it is NULL where the connection is broken, and
 * empty where the driver has refused, which is OO_EEXECUTOR. message may be NULL. */
OO_API void oo_row_fail(oo_row *row, const char *sqlstate, const char *message);

/*
 * The first statement of a transaction, in READ COMMITTED. OO_EXECUTE: write, then call oo_tx_complete, then COMMIT. OO_REPLAY: COMMIT, then
 * answer; where commits wait for a standby, that one has the response only then. Any other outcome: write nothing, ROLLBACK. A ROLLBACK, an error
 * or a crash leaves the key as it was. On OO_EXECUTE the key is this transaction's until it ends.
 *
 * owner is empty, but for who goes on, in a new transaction, with a key after an oo_tx_checkpoint of its own: then that one's owner.
 *
 * After a COMMIT whose reply was lost: begin again with the same key; it is OO_REPLAY if the commit has happened.
 */
OO_API int oo_tx_begin(const oo_executor *db, const oo_operation *operation, oo_bytes owner, oo_result **result, oo_error **error);

/*
 * Stores the response as part of the transaction, for retention_s seconds from now on (0: 24 hours). owner is the last token that
 * oo_tx_begin or oo_tx_checkpoint has returned; empty if there is none. The caller commits. Called twice, it is an error, and the
 * transaction can only be rolled back; as after any error here.
 */
OO_API int oo_tx_complete(const oo_executor *db, const oo_operation *operation, oo_bytes owner, const oo_response *response, int64_t retention_s,
	oo_error **error);

/*
 * Where the operation has got to, for one that must leave the database: committed by the caller with what was written until here. Between
 * transactions the key is this owner's for lease_ms (0: 15 seconds); then, or after a release, oo_tx_begin hands recovery_point and steps to whoever
 * comes next. recovery_point is text of 1 to 100 bytes; steps are the caller's own bytes, or a list that the SQL function idempotency_step_add
 * has made, which the Go library can go on with; request is what the Go library's completer would need.
 */
typedef struct oo_checkpoint {
	oo_bytes recovery_point;
	oo_bytes steps;
	oo_bytes request; /* empty: as it was */
	int64_t lease_ms;
} oo_checkpoint;

/* The result's owner is the token for the next call; its outcome is OO_EXECUTE. */
OO_API int oo_tx_checkpoint(const oo_executor *db, const oo_operation *operation, oo_bytes owner, const oo_checkpoint *checkpoint, oo_result **result,
	oo_error **error);

/* Ends the lease of a key that has a recovery point, now: the next attempt need not wait for it. *released, which may be NULL, is 0 where the
 * key was not this owner's. A transaction without a recovery point is simply rolled back. */
OO_API int oo_tx_release(const oo_executor *db, const oo_operation *operation, oo_bytes owner, int32_t *released, oo_error **error);

/* ---- Connections of the library's own: leases ------------------------------------------------------------------------------------------ */

/* An open store. 0 is none. */
typedef uint64_t oo_store;

/*
 * Opens a store. config is one JSON object; a member that is not known, or is there twice, is OO_ECONFIG:
 *
 *   dsn                string, required: postgres://user@host:5432/database
 *   schema             string: where the table idempotency_keys is. Default: the search_path decides
 *   lease_ms           how long a key is lent. Longer than the effect can take. Default: 30000
 *   timeout_ms         bounds each round trip. Default: 5000
 *   settle_timeout_ms  bounds oo_complete, which is sent again while its outcome is not known. Default: 10000
 *   retention_s        how long a response is kept. Default: 86400
 *   remember_s         how long a key that nobody ended is remembered after its lease. Default: 86400
 *   max_connections    Default: 8
 *   pooler             true where PgBouncer stands in between. Default: false
 *
 * It touches no network: call oo_check.
 */
OO_API int oo_open(const char *config, size_t size, oo_store *store, oo_error **error);

/* Asks the database whether keys can be kept there, and says what to do if not. */
OO_API int oo_check(oo_store store, oo_error **error);

/* Closes the store when calls that are under way have ended, which they do within their time-outs. */
OO_API int oo_close(oo_store store, oo_error **error);

/*
 * Claims the key, or tells what became of it, in one round trip: there is no separate check that could race. On OO_EXECUTE the key belongs to
 * the result's owner for lease_ms: do it, then call oo_complete. If the effect has not happened and will not, call oo_release. If that is not
 * known, call neither: the next attempt comes after the lease, with attempt > 1, and what it was to do may have happened. After OO_EUNAVAILABLE
 * nobody may do it; the key may be in progress until the lease is over, where the reply was lost.
 */
OO_API int oo_begin(oo_store store, const oo_operation *operation, oo_result **result, oo_error **error);

/*
 * Stores the response. *again, which may be NULL, is 1 if this owner has stored the very same before. OO_ELEASE: the key is another owner's,
 * or was answered otherwise; nothing was changed. OO_EUNKNOWN: call again with the same arguments.
 */
OO_API int oo_complete(oo_store store, const oo_operation *operation, oo_bytes owner, const oo_response *response, int32_t *again, oo_error **error);

/* Has the lease end lease_ms from now (0: the configured time), be that later or sooner than before. */
OO_API int oo_extend(oo_store store, const oo_operation *operation, oo_bytes owner, int64_t lease_ms, oo_error **error);

/* Ends the claim as if it had not been: nothing of the operation has happened. */
OO_API int oo_release(oo_store store, const oo_operation *operation, oo_bytes owner, oo_error **error);

/* Reads the stored response: OO_REPLAY, OO_MISMATCH or OO_ABSENT. It claims nothing, so nothing may be done on the strength of OO_ABSENT. */
OO_API int oo_lookup(oo_store store, const oo_operation *operation, oo_result **result, oo_error **error);

/* Deletes up to limit (1 to 100000) keys whose retention is over; *deleted, which may be NULL, says how many. One process at a time does: for
 * the others it is 0. Call it from time to time where no Go service does. */
OO_API int oo_reap(oo_store store, int32_t limit, int32_t *deleted, oo_error **error);

#ifdef __cplusplus
}
#endif

#endif
