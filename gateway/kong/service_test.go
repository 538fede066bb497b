package main_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/gateway/kong/internal/kongtest"
	"github.com/onlyonce/onlyonce/gateway/service"
	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/memstore"
)

func TestKeysMayBeKeptByAService(t *testing.T) {
	t.Parallel()
	store, err := memstore.New(memstore.Config{})
	require.NoError(t, err)
	token := strings.Repeat("t", 32)
	handler, err := service.New(store, service.Config{Callers: []service.Caller{{Token: token}}})
	require.NoError(t, err)
	server := httptest.NewServer(handler)
	defer server.Close()
	start := func(token string) *kongtest.Kong {
		return &kongtest.Kong{
			Dial: kongtest.Start(t, binary(t)).Configure(map[string]any{"url": server.URL, "token": token, "scope_source": "username"}).Dial,
			Service: func(kongtest.Request) kongtest.Answer {
				return kongtest.Answer{Status: 201, Header: map[string][]string{"content-type": {"application/octet-stream"}, "link": {"<a>", "<b>"}}, Body: []byte("\x00\xff")}
			},
		}
	}
	send := func(k *kongtest.Kong, key string, fate kongtest.Fate) kongtest.Result {
		request := payment(key)
		request.Username = "Café & Co."
		return k.Do(t, request, fate)
	}

	kong := start(token)
	require.True(t, send(kong, "k", kongtest.Answers).Passed)
	record, err := store.Lookup(t.Context(), idempotency.Key{Scope: "username:Café & Co.", Value: "k"})
	require.NoError(t, err)
	require.NotNil(t, record)
	again := send(kong, "k", kongtest.Answers)
	assert.False(t, again.Passed)
	assert.Equal(t, 201, again.Client.Status)
	assert.Equal(t, "\x00\xff", string(again.Client.Body))
	assert.Equal(t, []string{"<a>", "<b>"}, again.Client.Header["link"])

	other := payment("k")
	other.Username, other.Body = "Café & Co.", []byte("other")
	assert.Equal(t, 422, kong.Do(t, other, kongtest.Answers).Client.Status)
	require.True(t, send(kong, "held", kongtest.Refuses).Passed)
	assert.Equal(t, 409, send(kong, "held", kongtest.Answers).Client.Status)

	stranger := send(start(strings.Repeat("x", 32)), "k2", kongtest.Answers)
	assert.False(t, stranger.Passed)
	assert.GreaterOrEqual(t, stranger.Client.Status, http.StatusInternalServerError)
}

func TestAResponseThatTheServiceDoesNotTakeIsNotAskedForTwice(t *testing.T) {
	t.Parallel()
	store, err := memstore.New(memstore.Config{})
	require.NoError(t, err)
	handler, err := service.New(store, service.Config{Anonymous: true, MaxRequestBytes: 2000})
	require.NoError(t, err)
	server := httptest.NewServer(handler)
	defer server.Close()
	kong := &kongtest.Kong{
		Dial:    kongtest.Start(t, binary(t)).Configure(map[string]any{"url": server.URL}).Dial,
		Service: func(kongtest.Request) kongtest.Answer { return kongtest.Answer{Status: 201, Body: make([]byte, 2000)} },
	}
	first := kong.Do(t, payment("k"), kongtest.Answers)
	assert.Equal(t, 201, first.Client.Status)
	again := kong.Do(t, payment("k"), kongtest.Answers)
	assert.False(t, again.Passed)
	assert.Equal(t, 500, again.Client.Status, "409 is what it gets whose key the service may have after the lease")
	assert.Contains(t, string(again.Client.Body), "response-too-large")
}
