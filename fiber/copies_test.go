package idempotencyfiber_test

import (
	"testing"

	"github.com/gofiber/fiber/v3"
	"github.com/stretchr/testify/require"

	idempotencyfiber "github.com/onlyonce/onlyonce/fiber"
)

// Each request on a connection is read into the memory of the one before it, and answered out of the same memory. What c.Get and c.Body
// return is that memory.
func TestWhatIsKeptIsNotTheConnectionsMemory(t *testing.T) {
	t.Parallel()
	scope := func(c fiber.Ctx) (string, error) { return c.Get("X-Account"), nil }
	for name, config := range map[string]idempotencyfiber.Config{
		"by a header":   {Scope: scope},
		"by a function": {Scope: scope, Key: func(c fiber.Ctx, _ []byte) (string, error) { return c.Get("Idempotency-Key"), nil }},
		"by the body":   {Scope: scope, Key: func(_ fiber.Ctx, body []byte) (string, error) { return string(body[:5]), nil }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, func(c fiber.Ctx) error {
				c.Set("Location", c.Get("X-Place"))
				return c.Send(c.Body())
			}, place{config: config})
			conn := s.dial(s.listen())
			ask := func(account, key, place string) answer {
				return conn.ask(payment(key, key+" "+place+place, "X-Account: "+account, "X-Place: /"+place))
			}
			places := []string{"aaaaa", "bbbbb", "ccccc", "ddddd", "eeeee"} // of one length, so that they come to lie in the same place
			for round := range 3 {
				for i, place := range places {
					for _, account := range []string{"alice", "bobby"} {
						key := "key-" + string(rune('1'+i))
						got := ask(account, key, place)
						require.Equal(t, key+" "+place+place, got.body)
						require.Equal(t, "/"+place, got.header.Get("Location"))
						require.Equal(t, round > 0, got.replayed(), "round %d, %s of %s", round, key, account)
					}
				}
			}
			s.ran(2 * len(places))
			got := ask("alice", "key-1", "bbbbb")
			require.Equal(t, 422, got.status, got.body)
			s.ran(0)
		})
	}
}
