-- The table of the payments. Nothing in it knows of idempotency keys: a payment that is made twice is there twice.
CREATE TABLE payments (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account text   NOT NULL,
    amount  bigint NOT NULL CHECK (amount > 0)
);
