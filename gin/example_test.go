package idempotencygin_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/gin-gonic/gin"

	idempotencygin "github.com/onlyonce/onlyonce/gin"
	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/memstore"
)

// A payment that is sent twice is made once. With pgstore in place of memstore, what the handler writes through
// pgstore.Tx(c.Request.Context()) commits together with its response.
func ExampleMiddleware() {
	store, err := memstore.New(memstore.Config{})
	if err != nil {
		panic(err)
	}
	engine, err := idempotency.New(store, idempotency.Config{})
	if err != nil {
		panic(err)
	}
	protect, err := idempotencygin.Middleware(engine, idempotencygin.Config{
		Scope: func(c *gin.Context) (string, error) { return c.Request.Header.Get("X-Account"), nil }, // after authentication
	})
	if err != nil {
		panic(err)
	}
	payments := 0
	server := gin.New()
	server.POST("/payments", protect, func(c *gin.Context) {
		payments++
		c.JSON(http.StatusCreated, gin.H{"id": payments})
	})

	for range 2 {
		request := httptest.NewRequest(http.MethodPost, "/payments", strings.NewReader(`{"amount": 100}`))
		request.Header.Set("X-Account", "alice")
		request.Header.Set("Idempotency-Key", "payment-1")
		answer := httptest.NewRecorder()
		server.ServeHTTP(answer, request)
		fmt.Printf("%d %s replayed: %q\n", answer.Code, strings.TrimSpace(answer.Body.String()), answer.Header().Get("Idempotent-Replayed"))
	}
	// Output:
	// 201 {"id":1} replayed: ""
	// 201 {"id":1} replayed: "true"
}
