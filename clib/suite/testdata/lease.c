/* A key's whole life on connections of the library's own. */
#include "testing.h"

static const char body[] = "{\"id\":1}\0\xff\x80 and more";
static const char headers[] = "Content-Type: application/json\r\nLocation: /payments/1\r\n";

int main(void)
{
	oo_store store = store_with("");
	unsigned char print[OO_FINGERPRINT_SIZE], other_print[OO_FINGERPRINT_SIZE], owner[OO_OWNER_SIZE];
	oo_operation pay = operation("pay-\xc3\xa9", "amount=5", print), other = operation("pay-\xc3\xa9", "amount=6", other_print), fresh;
	oo_response created = response(201, headers, body, sizeof body - 1), nothing = response(0, "", NULL, 0);
	oo_result *result = NULL;
	int32_t again = 7, deleted = 7;
	int tries;

	GOOD(oo_check(store, &error));
	GOOD(oo_lookup(store, &pay, &result, &error));
	CHECK(result->outcome == OO_ABSENT);
	oo_result_free(&result);

	GOOD(oo_begin(store, &pay, &result, &error));
	CHECK(result->outcome == OO_EXECUTE && result->attempt == 1 && result->owner.size == OO_OWNER_SIZE && result->body.size == 0);
	memcpy(owner, result->owner.data, OO_OWNER_SIZE);
	oo_result_free(&result);
	oo_result_free(&result);

	GOOD(oo_begin(store, &pay, &result, &error));
	CHECK(result->outcome == OO_IN_PROGRESS && result->owner.size == 0);
	oo_result_free(&result);

	GOOD(oo_extend(store, &pay, bytes(owner, sizeof owner), 60000, &error));
	GOOD(oo_complete(store, &pay, bytes(owner, sizeof owner), &created, &again, &error));
	CHECK(again == 0);
	GOOD(oo_complete(store, &pay, bytes(owner, sizeof owner), &created, &again, &error));
	CHECK(again == 1);
	BAD(OO_ELEASE, oo_complete(store, &pay, bytes(owner, sizeof owner), &nothing, NULL, &error));
	BAD(OO_ELEASE, oo_extend(store, &pay, bytes(owner, sizeof owner), 0, &error));

	GOOD(oo_begin(store, &pay, &result, &error));
	CHECK(result->outcome == OO_REPLAY && result->status == 201);
	CHECK(same(result->headers, headers, sizeof headers - 1) && same(result->body, body, sizeof body - 1));
	CHECK(((const char *)result->body.data)[result->body.size] == 0);
	oo_result_free(&result);
	GOOD(oo_lookup(store, &pay, &result, &error));
	CHECK(result->outcome == OO_REPLAY && same(result->body, body, sizeof body - 1));
	oo_result_free(&result);
	GOOD(oo_begin(store, &other, &result, &error));
	CHECK(result->outcome == OO_MISMATCH && result->body.size == 0 && result->status == 0);
	oo_result_free(&result);
	GOOD(oo_lookup(store, &other, &result, &error));
	CHECK(result->outcome == OO_MISMATCH);
	oo_result_free(&result);

	/* What is released is new; what is left is another attempt's, and its owner's no more. */
	fresh = operation("left", NULL, NULL);
	GOOD(oo_begin(store, &fresh, &result, &error));
	GOOD(oo_release(store, &fresh, result->owner, &error));
	BAD(OO_ELEASE, oo_release(store, &fresh, result->owner, &error));
	oo_result_free(&result);
	GOOD(oo_begin(store, &fresh, &result, &error));
	CHECK(result->outcome == OO_EXECUTE && result->attempt == 1);
	memcpy(owner, result->owner.data, OO_OWNER_SIZE);
	oo_result_free(&result);
	GOOD(oo_extend(store, &fresh, bytes(owner, sizeof owner), 1, &error));
	for (tries = 0; tries < 10000; tries++) {
		GOOD(oo_begin(store, &fresh, &result, &error));
		if (result->outcome == OO_EXECUTE)
			break;
		CHECK(result->outcome == OO_IN_PROGRESS);
		oo_result_free(&result);
	}
	CHECK(result != NULL && result->attempt == 2);
	BAD(OO_ELEASE, oo_complete(store, &fresh, bytes(owner, sizeof owner), &nothing, NULL, &error));
	GOOD(oo_complete(store, &fresh, result->owner, &nothing, NULL, &error));
	oo_result_free(&result);

	GOOD(oo_reap(store, 10, &deleted, &error));
	CHECK(deleted == 0);
	GOOD(oo_close(store, &error));
	return 0;
}
