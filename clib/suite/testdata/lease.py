"""A key's life from Python, by nothing but ctypes."""
import ctypes
import json
import os
import sys

lib = ctypes.CDLL(sys.argv[1])


class Bytes(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("size", ctypes.c_size_t)]


class Error(ctypes.Structure):
    _fields_ = [("code", ctypes.c_int32), ("retryable", ctypes.c_int32), ("retry_after_ms", ctypes.c_int32),
                ("sqlstate", ctypes.c_char * 6), ("message", ctypes.c_char_p)]


class Operation(ctypes.Structure):
    _fields_ = [("scope", Bytes), ("key", Bytes), ("fingerprint", Bytes)]


class Response(ctypes.Structure):
    _fields_ = [("status", ctypes.c_int32), ("headers", Bytes), ("body", Bytes)]


class Result(ctypes.Structure):
    _fields_ = [("outcome", ctypes.c_int32), ("status", ctypes.c_int32), ("attempt", ctypes.c_int32), ("reserved", ctypes.c_int32),
                ("owner", Bytes), ("headers", Bytes), ("body", Bytes), ("recovery_point", Bytes), ("steps", Bytes)]


kept = []


def to_c(value):
    buffer = ctypes.create_string_buffer(value, len(value))
    kept.append(buffer)
    return Bytes(ctypes.cast(buffer, ctypes.c_void_p), len(value))


def of_c(value):
    return ctypes.string_at(value.data, value.size)


def call(function, *arguments):
    error = ctypes.POINTER(Error)()
    code = function(*arguments, ctypes.byref(error))
    if code != 0:
        message = error.contents.message.decode()
        lib.oo_error_free(ctypes.byref(error))
        raise RuntimeError(f"{code}: {message}")


lib.oo_open.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.POINTER(ctypes.c_uint64), ctypes.c_void_p]
lib.oo_close.argtypes = [ctypes.c_uint64, ctypes.c_void_p]
lib.oo_begin.argtypes = [ctypes.c_uint64, ctypes.POINTER(Operation), ctypes.c_void_p, ctypes.c_void_p]
lib.oo_complete.argtypes = [ctypes.c_uint64, ctypes.POINTER(Operation), Bytes, ctypes.POINTER(Response), ctypes.c_void_p, ctypes.c_void_p]

assert lib.oo_abi_version() == 1
config = json.dumps({"dsn": os.environ["SUITE_URL"], "schema": os.environ["SUITE_SCHEMA"]}).encode()
store = ctypes.c_uint64()
call(lib.oo_open, config, len(config), ctypes.byref(store))


def operation(body):
    fingerprint = ctypes.create_string_buffer(33)
    lib.oo_fingerprint.argtypes = [ctypes.c_void_p, ctypes.c_size_t, Bytes, ctypes.c_char_p]
    assert lib.oo_fingerprint(None, 0, to_c(body), fingerprint) == 0
    return Operation(to_c(b"acme"), to_c("schlüssel".encode()), to_c(fingerprint.raw))


def begin(body):
    result = ctypes.POINTER(Result)()
    call(lib.oo_begin, store, ctypes.byref(operation(body)), ctypes.byref(result))
    return result


result = begin(b"5")
assert result.contents.outcome == 1 and result.contents.attempt == 1
print("execute", end=" ")
call(lib.oo_complete, store, ctypes.byref(operation(b"5")), result.contents.owner,
     ctypes.byref(Response(201, to_c(b"Location: /1\r\n"), to_c(b"\x00\xff"))), None)
lib.oo_result_free(ctypes.byref(result))
assert not result

result = begin(b"5")
assert result.contents.outcome == 2 and result.contents.status == 201
assert of_c(result.contents.body) == b"\x00\xff" and of_c(result.contents.headers) == b"Location: /1\r\n"
lib.oo_result_free(ctypes.byref(result))
print("replay", end=" ")

result = begin(b"6")
assert result.contents.outcome == 4
lib.oo_result_free(ctypes.byref(result))
print("mismatch", end=" ")

call(lib.oo_close, store)
try:
    call(lib.oo_close, store)
except RuntimeError as error:
    assert str(error).startswith("2: the store is not open")
    print("closed")
