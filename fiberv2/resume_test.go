package idempotencyfiber_test

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/require"

	idempotencyfiber "github.com/onlyonce/onlyonce/fiberv2"
	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/memstore"
)

type accountKey struct{}

// The account comes by the client's credentials, which are not stored, or as the service lets the completer in.
func TestTheCompleterComesInByTheServicesOwnAuthentication(t *testing.T) {
	t.Parallel()
	byHeader := func(c *fiber.Ctx) string { return c.Get("X-Internal-Account") }
	for name, way := range map[string]struct {
		account func(c *fiber.Ctx) string
		config  idempotencyfiber.ResumeConfig
		fails   bool
	}{
		"by the pending key": {account: func(c *fiber.Ctx) string {
			if pending, ok := idempotencyfiber.Resuming(c); ok {
				return pending.Key.Scope
			}
			return ""
		}},
		"by a header": {account: byHeader, config: idempotencyfiber.ResumeConfig{
			Authenticate: func(r *http.Request, scope string) (*http.Request, error) {
				r.Header.Set("X-Internal-Account", scope)
				return r, nil
			},
		}},
		"by the context": {
			account: func(c *fiber.Ctx) string {
				account, _ := idempotencyfiber.Context(c).Value(accountKey{}).(string)
				return account
			},
			config: idempotencyfiber.ResumeConfig{Authenticate: func(r *http.Request, scope string) (*http.Request, error) {
				return r.WithContext(context.WithValue(r.Context(), accountKey{}, scope)), nil
			}},
		},
		"not at all": {account: byHeader, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, err := memstore.New(memstore.Config{})
			require.NoError(t, err)
			down := errors.New("the provider is down")
			var created, charged []string
			s := newShop(t, func(c *fiber.Ctx) error {
				account := c.Locals("account").(string)
				order, err := idempotency.Atomic(c.UserContext(), "order_created", func(context.Context) (string, error) {
					created = append(created, account)
					return "order " + c.Params("id"), nil
				})
				if err != nil {
					return err
				}
				charge, err := idempotency.Foreign(c.UserContext(), "card_charged", func(_ context.Context, key string) (string, error) {
					charged = append(charged, account+" "+key)
					return "paid", down
				})
				if err != nil {
					return fiber.NewError(http.StatusServiceUnavailable, "try again")
				}
				return c.Status(http.StatusCreated).SendString(order + " " + charge + " " + string(c.Body()) + " " + c.OriginalURL())
			}, place{
				store:  store,
				config: idempotencyfiber.Config{Scope: func(c *fiber.Ctx) (string, error) { return c.Locals("account").(string), nil }},
				outer: []fiber.Handler{func(c *fiber.Ctx) error {
					account := way.account(c)
					if c.Get("Authorization") == "Bearer token of alice" {
						account = "alice"
					}
					if account == "" {
						return fiber.ErrUnauthorized
					}
					c.Locals("account", account)
					return c.Next()
				}},
			})
			send := func() answer {
				r := orderAt("/orders/7?a=%20b", "k", `{"amount":1}`)
				r.Header.Set("Authorization", "Bearer token of alice")
				return s.send(r)
			}
			require.Equal(t, http.StatusServiceUnavailable, send().status)
			down = nil
			engine, err := idempotency.New(store, idempotency.Config{})
			require.NoError(t, err)
			completer, err := idempotency.NewCompleter(engine, idempotencyfiber.Resume(s.App, way.config), idempotency.CompleterConfig{})
			require.NoError(t, err)
			pass, err := completer.Pass(t.Context())
			require.NoError(t, err)
			if way.fails {
				require.Equal(t, idempotency.Pass{Found: 1, Pending: 1}, pass)
				s.ran(1)
				return
			}
			require.Equal(t, 1, pass.Completed)
			late := send()
			require.True(t, late.replayed())
			require.Equal(t, http.StatusCreated, late.status)
			require.Equal(t, `order 7 paid {"amount":1} /orders/7?a=%20b`, late.body)
			require.Equal(t, []string{"alice"}, created)
			require.Len(t, charged, 2)
			require.Equal(t, charged[0], charged[1], "another account, or another key for the provider")
			s.ran(2)
		})
	}
}

func TestResumeNeedsAnApp(t *testing.T) {
	t.Parallel()
	require.PanicsWithValue(t, "idempotencyfiber: Resume needs an app: the one that serves the clients", func() {
		idempotencyfiber.Resume(nil, idempotencyfiber.ResumeConfig{})
	})
}
