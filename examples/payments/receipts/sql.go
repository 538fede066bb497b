package receipts

const (
	// SKIP LOCKED: what another worker holds is being delivered, and is not waited for.
	lockBatch = `
SELECT id::text, card_payment_id::text, account_id, body FROM receipts
WHERE delivered_at IS NULL
ORDER BY id LIMIT $1
FOR UPDATE SKIP LOCKED`

	markDelivered = `UPDATE receipts SET delivered_at = now() WHERE id = ANY($1::text[]::uuid[])`
)
