-- +goose Up

-- Amounts are integers of the currency's minor unit (cents for USD) everywhere: a float cannot hold money.
CREATE TABLE accounts (
    id       text COLLATE "C" PRIMARY KEY,
    currency text COLLATE "C" NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    -- What the account can spend, always the sum of its entries. NULL for the house's own accounts: their balance is read
    -- off the entries, since a stored one would make every payment of a currency wait for the same row.
    balance  bigint CHECK (balance >= 0)
);

-- No column for the idempotency key and no unique constraint on one: exactly one execution is the middleware's promise, and
-- a second one would show here as a second row.
CREATE TABLE payments (
    id         uuid PRIMARY KEY,
    account_id text COLLATE "C" NOT NULL REFERENCES accounts,
    amount     bigint NOT NULL CHECK (amount > 0),
    currency   text COLLATE "C" NOT NULL,
    reference  text,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- The page query's path: one account's payments, newest first (ids are UUIDv7, so they sort by time).
CREATE INDEX payments_by_account ON payments (account_id, id DESC);

-- A negative amount is a debit, a positive one a credit. The entries of one payment sum to zero.
CREATE TABLE ledger_entries (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    payment_id uuid REFERENCES payments, -- NULL for an opening balance
    account_id text COLLATE "C" NOT NULL REFERENCES accounts,
    amount     bigint NOT NULL CHECK (amount <> 0),
    currency   text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX ledger_entries_by_payment ON ledger_entries (payment_id);
CREATE INDEX ledger_entries_by_account ON ledger_entries (account_id);

-- +goose Down
DROP TABLE ledger_entries;
DROP TABLE payments;
DROP TABLE accounts;
