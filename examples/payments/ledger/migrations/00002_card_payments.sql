-- +goose Up

-- A payment by card into an account. The card itself is not here: only the provider needs it.
CREATE TABLE card_payments (
    id           uuid PRIMARY KEY,
    account_id   text COLLATE "C" NOT NULL REFERENCES accounts,
    amount       bigint NOT NULL CHECK (amount > 0),
    currency     text COLLATE "C" NOT NULL,
    status       text COLLATE "C" NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'captured', 'declined')),
    -- The provider's name for the money that it took. One charge pays for one payment.
    charge_id    text COLLATE "C" UNIQUE CHECK ((charge_id IS NOT NULL) = (status = 'captured')),
    decline_code text COLLATE "C" CHECK (decline_code IS NULL OR status = 'declined'),
    created_at   timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX card_payments_by_account ON card_payments (account_id, id DESC);

ALTER TABLE ledger_entries
    ADD COLUMN card_payment_id uuid REFERENCES card_payments,
    ADD CONSTRAINT ledger_entries_of_one_payment CHECK (num_nonnulls(payment_id, card_payment_id) <= 1);

-- One capture per card payment: each of the two accounts has one entry of it.
CREATE UNIQUE INDEX ledger_entries_by_card_payment ON ledger_entries (card_payment_id, account_id) WHERE card_payment_id IS NOT NULL;

-- What has to be sent out because a payment was captured, written in the same commit.
CREATE TABLE receipts (
    id              uuid PRIMARY KEY,
    card_payment_id uuid NOT NULL UNIQUE REFERENCES card_payments, -- one receipt per card payment
    account_id      text COLLATE "C" NOT NULL REFERENCES accounts,
    body            json NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    delivered_at    timestamptz
);

-- The worker's path: it stays small, however many have been delivered.
CREATE INDEX receipts_undelivered ON receipts (id) WHERE delivered_at IS NULL;

-- Where captured money comes from until the provider pays it out, for the currencies whose accounts are open already.
INSERT INTO accounts (id, currency)
SELECT DISTINCT 'house:card-clearing:' || currency, currency FROM accounts
ON CONFLICT (id) DO NOTHING;

-- +goose Down

-- Captured money stays booked, on the clearing account too: balances do not change. What it was for is forgotten.
DROP TABLE receipts;
ALTER TABLE ledger_entries DROP COLUMN card_payment_id; -- its index and its constraint go with it
DROP TABLE card_payments;
