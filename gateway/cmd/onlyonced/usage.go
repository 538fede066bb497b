package main

const usage = `onlyonced lends idempotency keys over HTTP: it takes a key for one caller at a time, for the length of a lease, and keeps the response for everybody
who asks with the same key later. See gateway/README.md for the endpoints, and docs/gateway.md for what a gateway can promise.

  openssl rand -hex 32 >tokens
  onlyonced -store postgres://user@localhost/payments -migrate
  onlyonced -store postgres://user@localhost/payments -tokens tokens

  call() { curl -sS "http://127.0.0.1:8080$1" -H "Authorization: Bearer $(cat tokens)" -H 'X-Idempotency-Scope: acme' -d "$2"; }

  # Claim the key, or get the response that is stored under it.
  call /v1/claims '{"idempotency_key":"order-17","request_fingerprint":"sha256:5d41402a","lock_duration":30000}'
  {"outcome":"claimed","lock_value":"0f…","attempt":1}

  # Do the work. Then hand in its response: whoever claims the key from now on gets it.
  call /v1/completions '{"idempotency_key":"order-17","request_fingerprint":"sha256:5d41402a","lock_value":"0f…",
    "response":{"status_code":201,"headers":{"Content-Type":"application/json"},"body":{"id":17}}}'
  {"outcome":"stored"}

  # If the work surely has not happened, give the key back instead. If nobody knows, do neither: the lease ends by itself, and the next claim says "attempt":2.
  call /v1/releases '{"idempotency_key":"order-17","lock_value":"0f…"}'

With -tokens every request needs one of them, with -client-ca every connection a certificate, with both it needs both; it does not start with neither, but by -insecure.
Each flag can also be set by its environment variable: ONLYONCED_STORE for -store, ONLYONCED_TLS_CERT for -tls-cert, and so on. The flag wins.
The exit code is 0 after an orderly end, 1 for a failure, 2 for a wrong command line.

`
