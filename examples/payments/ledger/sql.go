package ledger

const (
	// One statement locks the account, checks the rules and takes the money: what it read cannot change before it writes.
	debitAccount = `
UPDATE accounts SET balance = balance - $2::bigint
WHERE id = $1 AND currency = $3 AND balance >= $2::bigint`

	readAccount = `SELECT currency, balance FROM accounts WHERE id = $1 AND balance IS NOT NULL`

	insertPayment = `
INSERT INTO payments (id, account_id, amount, currency, reference)
VALUES ($1, $2, $3, $4, NULLIF($5::text, ''))
RETURNING created_at`

	// Both sides in one statement, from one amount: they cannot fail to sum to zero.
	insertEntries = `
INSERT INTO ledger_entries (payment_id, account_id, amount, currency)
VALUES ($1::uuid, $2::text, -($4::bigint), $5::text),
       ($1::uuid, $3::text,   $4::bigint,  $5::text)`

	readPayment = `
SELECT id::text, amount, currency, coalesce(reference, ''), created_at
FROM payments WHERE id = $1 AND account_id = $2`

	// Keyset, not OFFSET: a page costs the same however deep it is, and payments made meanwhile shift nothing.
	listPayments = `
SELECT id::text, amount, currency, coalesce(reference, ''), created_at
FROM payments WHERE account_id = $1 AND id < $2::uuid
ORDER BY id DESC LIMIT $3`

	// The opening balance is booked like any other money, and only by the statement that created the account: running it
	// twice, or in two processes at once, changes nothing.
	openAccount = `
WITH opened AS (
    INSERT INTO accounts (id, currency, balance) VALUES ($1::text, $2::text, $3::bigint)
    ON CONFLICT (id) DO NOTHING
    RETURNING id
)
INSERT INTO ledger_entries (account_id, amount, currency)
SELECT entry.account_id, entry.amount, $2::text
FROM opened, (VALUES ($4::text, -($3::bigint)), ($1::text, $3::bigint)) AS entry (account_id, amount)
WHERE entry.amount <> 0`

	openHouseAccount = `INSERT INTO accounts (id, currency) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING`

	// The account's currency is checked by the statement that inserts, and no row means that there is no such account.
	insertCardPayment = `
INSERT INTO card_payments (id, account_id, amount, currency)
SELECT $1::uuid, id, $3::bigint, currency FROM accounts
WHERE id = $2 AND currency = $4 AND balance IS NOT NULL
RETURNING created_at`

	readCardPayment = `
SELECT id::text, amount, currency, status, coalesce(decline_code, ''), created_at
FROM card_payments WHERE id = $1 AND account_id = $2`

	// From pending alone: a payment is settled once, whoever asks.
	captureCardPayment = `UPDATE card_payments SET status = 'captured', charge_id = $2 WHERE id = $1 AND status = 'pending'`
	declineCardPayment = `UPDATE card_payments SET status = 'declined', decline_code = $2 WHERE id = $1 AND status = 'pending'`

	creditAccount = `
UPDATE accounts SET balance = balance + $2::bigint
WHERE id = $1 AND currency = $3 AND balance IS NOT NULL`

	// Both sides in one statement, as with insertEntries.
	insertCaptureEntries = `
INSERT INTO ledger_entries (card_payment_id, account_id, amount, currency)
VALUES ($1::uuid, $2::text, -($4::bigint), $5::text),
       ($1::uuid, $3::text,   $4::bigint,  $5::text)`

	insertReceipt = `INSERT INTO receipts (id, card_payment_id, account_id, body) VALUES ($1, $2, $3, $4)`
)
