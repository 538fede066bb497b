package psp

// ChargeRequest asks for money. Two requests are the same if all fields are.
type ChargeRequest struct {
	// Amount is in the currency's minor unit: 100 is one dollar.
	Amount int64 `json:"amount"`
	// Currency is three capital letters.
	Currency string `json:"currency"`
	// Card is a token, see CardHelp.
	Card string `json:"card"`
	// Reference is the caller's name for what is paid, at most 255 bytes. It may be empty, and need not be unique.
	Reference string `json:"reference"`
}

// Succeeded is the status of every charge that was made.
const Succeeded = "succeeded"

// Charge is money that was taken.
type Charge struct {
	ID        string `json:"id"`
	Amount    int64  `json:"amount"`
	Currency  string `json:"currency"`
	Status    string `json:"status"`
	Reference string `json:"reference"`
}

// RecordedCharge is a charge as GET /v1/charges lists it, with the key that it was made by.
type RecordedCharge struct {
	Charge
	IdempotencyKey string `json:"idempotency_key"`
}

type chargeList struct {
	Charges []RecordedCharge `json:"charges"`
}
