package main

/*
#cgo CFLAGS: -std=c11 -Wall -Wextra -D_GNU_SOURCE -fvisibility=hidden -I${SRCDIR}/include
#include <stdlib.h>
#include "internal.h"
*/
import "C"

import (
	"context"
	"time"
	"unsafe"

	"github.com/onlyonce/onlyonce/clib/internal/opened"
	"github.com/onlyonce/onlyonce/idempotency"
)

var stores opened.Table

// guarded runs a call and reports how it ended. A panic ends here: unwinding into C is undefined.
func guarded(failure **C.oo_error, call func() error) (code C.int) {
	defer func() {
		if value := recover(); value != nil {
			code = report(failure, opened.Panicked(value))
		}
	}()
	if err := call(); err != nil {
		return report(failure, opened.FailureOf(err))
	}
	return C.OO_OK
}

func report(failure **C.oo_error, f *opened.Failure) C.int {
	sqlstate, message := C.CString(f.SQLState), C.CString(f.Message)
	defer C.free(unsafe.Pointer(sqlstate))
	defer C.free(unsafe.Pointer(message))
	retryable := C.int(0)
	if f.Retryable {
		retryable = 1
	}
	return C.oi_fail_as(failure, C.int(f.Code), retryable, C.int(f.RetryAfter.Milliseconds()), sqlstate, message)
}

// onStore is guarded with the store that number names.
func onStore(name string, number C.oo_store, failure **C.oo_error, call func(ctx context.Context, store *opened.Store) error) C.int {
	return guarded(failure, func() error {
		store, done, err := stores.Use(uint64(number))
		if err != nil {
			return err
		}
		defer done()
		probe(name)
		return call(context.Background(), store) // each call of the store's has a bound of its own
	})
}

func bytesOf(b C.oo_bytes) []byte {
	if b.size == 0 {
		return nil
	}
	return C.GoBytes(unsafe.Pointer(b.data), C.int(b.size)) // its size was checked
}

func keyOf(operation *C.oo_operation) idempotency.Key {
	return idempotency.Key{Scope: string(bytesOf(operation.scope)), Value: string(bytesOf(operation.key))}
}

func fingerprintOf(operation *C.oo_operation) (fingerprint idempotency.Fingerprint) {
	copy(fingerprint[:], bytesOf(operation.fingerprint))
	return fingerprint
}

func ownerOf(owner C.oo_bytes) (token idempotency.OwnerToken) {
	copy(token[:], bytesOf(owner))
	return token
}

func keep(field *C.oo_bytes, value []byte) error {
	if len(value) > 0 && C.oi_keep(field, unsafe.Pointer(&value[0]), C.size_t(len(value))) != 0 {
		return &opened.Failure{Code: C.OO_ENOMEM, Message: "out of memory"}
	}
	return nil
}

func keepRecord(result *C.oo_result, record *idempotency.Record) error {
	result.outcome = C.int32_t(opened.Replay)
	result.status = C.int32_t(record.Response.Status)
	if err := keep(&result.headers, record.Response.Header); err != nil {
		return err
	}
	return keep(&result.body, record.Response.Body)
}

//export oiOpen
func oiOpen(config unsafe.Pointer, size C.int, number *C.oo_store, failure **C.oo_error) C.int {
	return guarded(failure, func() error {
		store, err := opened.Open(C.GoBytes(config, size))
		if err == nil {
			*number = C.oo_store(stores.Add(store))
		}
		return err
	})
}

//export oiCheck
func oiCheck(number C.oo_store, failure **C.oo_error) C.int {
	return onStore("check", number, failure, func(ctx context.Context, store *opened.Store) error { return store.Check(ctx) })
}

//export oiClose
func oiClose(number C.oo_store, failure **C.oo_error) C.int {
	return guarded(failure, func() error { return stores.Close(uint64(number)) })
}

//export oiBegin
func oiBegin(number C.oo_store, operation *C.oo_operation, result *C.oo_result, failure **C.oo_error) C.int {
	return onStore("begin", number, failure, func(ctx context.Context, store *opened.Store) error {
		terms := store.Terms(fingerprintOf(operation))
		lease, record, err := store.Acquire(ctx, keyOf(operation), terms)
		switch {
		case err != nil:
			outcome, err := opened.OutcomeOf(err)
			result.outcome = C.int32_t(outcome)
			return err
		case record != nil:
			return keepRecord(result, record)
		}
		result.outcome = C.int32_t(opened.Execute)
		result.attempt = C.int32_t(lease.Attempt)
		return keep(&result.owner, terms.Owner[:])
	})
}

//export oiComplete
func oiComplete(number C.oo_store, operation *C.oo_operation, owner C.oo_bytes, response *C.oo_response, again *C.int32_t, failure **C.oo_error) C.int {
	return onStore("complete", number, failure, func(ctx context.Context, store *opened.Store) error {
		record := &idempotency.Record{Fingerprint: fingerprintOf(operation), Response: idempotency.Response{
			Status: int(response.status), Header: bytesOf(response.headers), Body: bytesOf(response.body),
		}}
		repeated, err := store.Settle(ctx, keyOf(operation), ownerOf(owner), record, store.Retention)
		if repeated {
			*again = 1
		}
		return err
	})
}

//export oiExtend
func oiExtend(number C.oo_store, operation *C.oo_operation, owner C.oo_bytes, lease C.int64_t, failure **C.oo_error) C.int {
	return onStore("extend", number, failure, func(ctx context.Context, store *opened.Store) error {
		length := store.Lease
		if lease > 0 {
			length = time.Duration(lease) * time.Millisecond
		}
		return store.Extend(ctx, keyOf(operation), ownerOf(owner), length)
	})
}

//export oiRelease
func oiRelease(number C.oo_store, operation *C.oo_operation, owner C.oo_bytes, failure **C.oo_error) C.int {
	return onStore("release", number, failure, func(ctx context.Context, store *opened.Store) error {
		return store.Free(ctx, keyOf(operation), ownerOf(owner))
	})
}

//export oiLookup
func oiLookup(number C.oo_store, operation *C.oo_operation, result *C.oo_result, failure **C.oo_error) C.int {
	return onStore("lookup", number, failure, func(ctx context.Context, store *opened.Store) error {
		record, err := store.Lookup(ctx, keyOf(operation))
		identity := idempotency.Identity{Fingerprint: fingerprintOf(operation)}
		switch {
		case err != nil:
			return err
		case record == nil:
			result.outcome = C.int32_t(opened.Absent)
			return nil
		case !identity.Admits(record.Fingerprint):
			result.outcome = C.int32_t(opened.Mismatch)
			return nil
		}
		return keepRecord(result, record)
	})
}

//export oiReap
func oiReap(number C.oo_store, limit C.int32_t, deleted *C.int32_t, failure **C.oo_error) C.int {
	return onStore("reap", number, failure, func(ctx context.Context, store *opened.Store) error {
		n, err := store.Reap(ctx, int(limit))
		*deleted = C.int32_t(n)
		return err
	})
}
