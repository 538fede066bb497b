package httpidem

import (
	"fmt"

	"github.com/onlyonce/onlyonce/idempotency"
)

// UUIDOnly takes UUIDs in their usual form only: 8-4-4-4-12 hexadecimal digits.
func UUIDOnly(key string) error {
	ok := len(key) == 36
	for i := 0; ok && i < len(key); i++ {
		switch c := key[i]; i {
		case 8, 13, 18, 23:
			ok = c == '-'
		default:
			ok = c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
		}
	}
	if !ok {
		return &idempotency.Error{Code: idempotency.CodeKeyInvalid, Detail: "The idempotency key must be a UUID, such as 123e4567-e89b-12d3-a456-426614174000."}
	}
	return nil
}

// MinLength refuses keys shorter than n bytes.
func MinLength(n int) func(key string) error {
	detail := fmt.Sprintf("The idempotency key must have at least %d characters.", n)
	return func(key string) error {
		if len(key) < n {
			return &idempotency.Error{Code: idempotency.CodeKeyInvalid, Detail: detail}
		}
		return nil
	}
}

// tooLong refuses a key of more than most bytes.
func tooLong(most int) error {
	return &idempotency.Error{Code: idempotency.CodeKeyInvalid, Detail: fmt.Sprintf("The idempotency key must have at most %d characters.", most)}
}
