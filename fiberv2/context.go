package idempotencyfiber

import (
	"context"

	"github.com/gofiber/fiber/v2"

	"github.com/onlyonce/onlyonce/internal/fasthttpidem"
)

// Context returns c.UserContext() with the values of the completer's request in it, if c is one (see [Resume]), for middleware outside of the
// protection. Inside, c.UserContext() has them.
func Context(c *fiber.Ctx) context.Context { return fasthttpidem.Context(c.Context(), c.UserContext()) }
