/* What the C files of the library share. Nothing here is exported: only names that begin with oo_ are. */
#ifndef ONLYONCE_INTERNAL_H
#define ONLYONCE_INTERNAL_H

#include "onlyonce.h"

#define OI_HIDDEN __attribute__((visibility("hidden")))

/* result.c */
OI_HIDDEN oo_result *oi_result(void);                                  /* NULL: out of memory */
OI_HIDDEN int oi_keep(oo_bytes *field, const void *data, size_t size); /* a copy that oo_result_free frees; 0, or 1 if out of memory */
OI_HIDDEN int oi_fail(oo_error **error, int code, const char *message); /* returns code */
OI_HIDDEN int oi_fail_as(oo_error **error, int code, int retryable, int after_ms, const char *sqlstate, const char *message);

/* rules.c: each returns OO_OK, or fails with what is wrong */
OI_HIDDEN int oi_check_operation(const oo_operation *operation, oo_error **error);
OI_HIDDEN int oi_check_response(const oo_response *response, oo_error **error);
OI_HIDDEN int oi_check_owner(oo_bytes owner, int needed, oo_error **error);

#endif
