package idempotency_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

func logTo(text *bytes.Buffer, level slog.Level) idempotency.Observer {
	return idempotency.LogObserver(slog.New(slog.NewJSONHandler(text, &slog.HandlerOptions{Level: level})))
}

func TestTheLogSaysWhatHappenedAtItsLevel(t *testing.T) {
	t.Parallel()
	for kind, level := range map[idempotency.EventKind]string{
		idempotency.Claimed: "DEBUG", idempotency.Replayed: "DEBUG", idempotency.Conflicted: "DEBUG", idempotency.Completed: "DEBUG",
		idempotency.Refused: "DEBUG", idempotency.Released: "DEBUG", idempotency.Reaping: "INFO", idempotency.Reused: "WARN",
		idempotency.UnknownResolved: "WARN", idempotency.Limited: "WARN", idempotency.Failed: "ERROR",
	} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			var text bytes.Buffer
			event := idempotency.Event{
				Kind: kind, Scope: "alice", Status: 201, Duration: time.Second, Count: 7,
				Err: idempotency.ErrStoreUnavailable.Because(errors.New("Key (key)=(hunter2) already exists")),
			}
			logTo(&text, slog.LevelDebug)(t.Context(), event)
			var line map[string]any
			require.NoError(t, json.Unmarshal(text.Bytes(), &line))
			require.Equal(t, level, line["level"])
			require.Equal(t, "idempotency: "+string(kind), line["msg"])
			require.Equal(t, "alice", line["scope"])
			require.EqualValues(t, 201, line["status"])
			require.EqualValues(t, time.Second, line["duration"])
			require.Equal(t, "store-unavailable", line["code"])
			require.Equal(t, kind == idempotency.Reaping, line["count"] != nil)
			require.NotContains(t, text.String(), "hunter2")

			text.Reset()
			logTo(&text, slog.LevelError+1)(t.Context(), event)
			require.Empty(t, text.String())
		})
	}
}

func TestTheLogLeavesOutWhatIsNotKnown(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	logTo(&text, slog.LevelDebug)(t.Context(), idempotency.Event{Kind: idempotency.Claimed})
	for _, name := range []string{"scope", "status", "count", "code"} {
		require.NotContains(t, text.String(), `"`+name+`"`)
	}
}

// Everything that a caller, a handler and a store can put a secret into is driven through an engine that logs all it can.
func TestNoSecretReachesTheLog(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	var text bytes.Buffer
	store := &gated{Store: memory(t)}
	engine := engineOn(t, store, idempotency.Config{Observer: logTo(&text, slog.LevelDebug-10)})
	secretive := idempotency.Request{
		Key:         idempotency.Key{Scope: "alice", Value: secret},
		Fingerprint: (*idempotency.Fingerprinter)(nil).Sum([]byte(secret)),
	}
	other := secretive
	other.Fingerprint = (*idempotency.Fingerprinter)(nil).Sum([]byte("other"))
	run := func(request idempotency.Request, response idempotency.Response, err error) {
		_, _ = engine.Run(t.Context(), request, func(context.Context) (idempotency.Response, error) { return response, err })
	}
	run(secretive, idempotency.Response{}, errors.New(secret))                                            // released
	run(secretive, idempotency.Response{}, idempotency.ErrTransactionAborted.Because(errors.New(secret))) // released, with a code
	run(secretive, idempotency.Response{Status: 200, Body: []byte(secret), Header: []byte("Link: " + secret + "\r\n")}, nil)
	run(secretive, idempotency.Response{}, nil) // replayed
	run(other, idempotency.Response{}, nil)     // reused
	other.Key.Value = secret + "\x00"
	run(other, idempotency.Response{}, nil) // turned away
	store.err = errors.New("duplicate key value: " + secret)
	other.Key.Value = secret + "-2"
	run(other, idempotency.Response{}, nil) // failed, by an error that is not ours
	store.err = idempotency.ErrRecordUnreadable.Because(errors.New(secret))
	run(other, idempotency.Response{}, nil) // failed

	for _, kind := range []idempotency.EventKind{
		idempotency.Claimed, idempotency.Released, idempotency.Completed, idempotency.Replayed, idempotency.Reused, idempotency.Failed,
	} {
		require.Contains(t, text.String(), `"idempotency: `+string(kind)+`"`)
	}
	require.NotContains(t, text.String(), secret)
}
