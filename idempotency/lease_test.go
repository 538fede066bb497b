package idempotency_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

// discerning is a store that knows by itself whose its keys are: it turns away whoever is not the first.
type discerning struct {
	idempotency.Store
	first   idempotency.Fingerprint
	arrived chan struct{}
	open    chan struct{}
}

func (d *discerning) ClaimAs(ctx context.Context, key idempotency.Key, identity idempotency.Identity) (idempotency.Attempt, *idempotency.Record, error) {
	d.arrived <- struct{}{}
	<-d.open
	if !identity.Is(d.first) {
		return nil, nil, idempotency.ErrKeyReused
	}
	return d.Store.Claim(ctx, key)
}

func (d *discerning) Claim(context.Context, idempotency.Key) (idempotency.Attempt, *idempotency.Record, error) {
	return nil, nil, idempotency.ErrInternal
}

func TestAStoreThatTurnsAwayAnotherRequestDoesNotTurnAwayThoseThatWaitBehindIt(t *testing.T) {
	t.Parallel()
	store := &discerning{Store: memory(t), first: idempotency.Fingerprint{1}, arrived: make(chan struct{}), open: make(chan struct{})}
	reused := make(chan idempotency.Event, 10)
	engine := engineOn(t, store, idempotency.Config{Wait: time.Minute, Observer: func(_ context.Context, event idempotency.Event) {
		if event.Kind == idempotency.Reused {
			reused <- event
		}
	}})
	other, same := request, request
	other.Fingerprint, same.Fingerprint = idempotency.Fingerprint{2}, store.first
	turnedAway, done := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := engine.Run(t.Context(), other, never(t))
		turnedAway <- err
	}()
	<-store.arrived
	go func() {
		_, err := engine.Run(t.Context(), same, answers("paid"))
		done <- err
	}()
	require.Eventually(t, func() bool { return engine.Followers(request.Key) }, time.Minute, time.Millisecond)
	store.open <- struct{}{}
	require.ErrorIs(t, <-turnedAway, idempotency.ErrKeyReused)
	require.Equal(t, 422, (<-reused).Status)
	select {
	case <-store.arrived:
		store.open <- struct{}{}
		require.NoError(t, <-done)
	case err := <-done:
		require.NoError(t, err, "who waited did not ask the store")
	}
}

func TestAnOwnerTokenIsReadAsItIsWritten(t *testing.T) {
	t.Parallel()
	token := idempotency.NewOwnerToken()
	require.NotEqual(t, token, idempotency.NewOwnerToken())
	for _, text := range []string{token.String(), strings.ToUpper(token.String())} {
		read, err := idempotency.ParseOwnerToken(text)
		require.NoError(t, err)
		require.Equal(t, token, read)
	}
	for _, text := range []string{"", "00", token.String()[1:], token.String() + "0", token.String() + "00", strings.Repeat("0", 32), strings.Repeat("g", 32)} {
		read, err := idempotency.ParseOwnerToken(text)
		require.ErrorContains(t, err, "32 hexadecimal digits", text)
		require.Zero(t, read)
	}
}
