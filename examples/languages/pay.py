"""Makes payments with psycopg 3, each once for its key:

    python3 pay.py "$DATABASE_URL" alice 10 8e03978e 9f1b2c44

and prints the key, the response's status and its body. Run again, it prints the same, and pays nothing.
"""
import json
import sys
import time

import psycopg

PATIENCE = 30  # seconds for which a key that is in progress is asked for again


class InProgress(Exception):
    """Somebody else works on the key: ask again."""


def pay(conn, account, key, amount):
    """Returns status and body of the response to the payment of this key, be it made now or before."""
    request = json.dumps({"amount": amount}).encode()
    with conn.transaction():  # what is raised in here rolls all of it back
        (fingerprint,) = conn.execute(
            "SELECT idempotency_fingerprint('POST', '/payments', '', 'application/json', %s)", (request,)).fetchone()
        outcome, status, body = conn.execute(
            "SELECT outcome, status, body FROM idempotency_begin(%s, %s, %s)", (account, key, fingerprint)).fetchone()
        if outcome == "in_progress":
            raise InProgress
        if outcome == "mismatch":
            raise ValueError("another request has used this key")
        if outcome == "execute":
            (payment,) = conn.execute(
                "INSERT INTO payments (account, amount) VALUES (%s, %s) RETURNING id", (account, amount)).fetchone()
            status, body = 201, json.dumps({"payment": payment}).encode()
            conn.execute("SELECT idempotency_complete(%s, %s, %s, %s, %s, %s)",
                         (account, key, fingerprint, status, b"Content-Type: application/json\r\n", body))
    return status, body  # only now: until the commit it may still be undone


def pay_once(conn, account, key, amount):
    """pay, and again where that says nothing about the payment yet."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return pay(conn, account, key, amount)
        except (InProgress, psycopg.errors.UniqueViolation, psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.005)


def main():
    url, account, amount, *keys = sys.argv[1:]
    with psycopg.connect(url, autocommit=True) as conn:  # a transaction is begun where the code says so
        for key in keys:
            status, body = pay_once(conn, account, key, int(amount))
            print(key, status, body.decode())


if __name__ == "__main__":
    main()
