package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gofiber/fiber/v3"
	"github.com/stretchr/testify/require"
)

// The same in both folders: what clients of the one rely on, they have of the other.
func TestAPaymentThatComesAgainIsMadeOnce(t *testing.T) {
	t.Parallel()
	app, err := newApp()
	require.NoError(t, err)
	for range 3 {
		answer, body := ask(t, app, "POST", "payment-of-alice-1", `{"amount":100}`)
		require.Equal(t, http.StatusCreated, answer.StatusCode)
		require.JSONEq(t, `{"id":1,"amount":100}`, body)
		require.Equal(t, "/payments/1", answer.Header.Get("Location"))
		require.Equal(t, "1", answer.Header.Get("X-Payment-Id"))
		require.Contains(t, answer.Header.Get("Content-Type"), "application/json")
	}
	for i := range 2 { // without a key
		answer, _ := ask(t, app, "POST", "", `{"amount":100}`)
		require.Equal(t, http.StatusCreated, answer.StatusCode)
		require.Equal(t, []string{"2", "3"}[i], answer.Header.Get("X-Payment-Id"))
	}
	answer, _ := ask(t, app, "POST", "too-short", `{"amount":100}`)
	require.Equal(t, http.StatusBadRequest, answer.StatusCode)
	for range 2 {
		_, body := ask(t, app, "GET", "payment-of-alice-1", "")
		require.JSONEq(t, `{"payments":3}`, body)
	}
}

func ask(t *testing.T, app *fiber.App, method, key, body string) (*http.Response, string) {
	t.Helper()
	request := httptest.NewRequest(method, "/payments", strings.NewReader(body))
	request.Header.Set("Content-Type", "application/json")
	if key != "" {
		request.Header.Set("X-Idempotency-Key", key)
	}
	answer, err := app.Test(request, fiber.TestConfig{})
	require.NoError(t, err)
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer, string(text)
}
