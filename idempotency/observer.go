package idempotency

import (
	"context"
	"log/slog"
	"time"
)

// EventKind says what happened.
type EventKind string

// The kinds of events.
const (
	// Claimed: an attempt begins and the handler is about to run.
	Claimed EventKind = "claimed"
	// Replayed: a stored response was the answer.
	Replayed EventKind = "replayed"
	// Conflicted: another attempt at the key is at work, and the request was turned away.
	Conflicted EventKind = "conflicted"
	// Limited: the scope has as many unfinished operations as Config.MaxPendingPerScope allows, and the request was turned away.
	Limited EventKind = "limited"
	// Reused: the key was used with another request.
	Reused EventKind = "reused"
	// Completed: the handler's writes and its response are committed.
	Completed EventKind = "completed"
	// Refused: the handler's writes are rolled back and its response is kept.
	Refused EventKind = "refused"
	// Released: the handler's writes are rolled back and the key is free again; with a recovery point, it stays there.
	Released EventKind = "released"
	// UnknownResolved: the reply to a commit was lost, and the outcome was read back. Err is nil if it had happened.
	UnknownResolved EventKind = "unknown-resolved"
	// Failed: the store failed, or the handler broke its transaction. Err says how.
	Failed EventKind = "failed"
	// Resumed: an attempt takes over a key that an earlier one has left at a recovery point. Claimed precedes it.
	Resumed EventKind = "resumed"
	// Stuck: there are pending keys that the completer has given up; Count says how many.
	Stuck EventKind = "stuck"
	// Reaping: expired records were deleted; Count says how many.
	Reaping EventKind = "reaping"
)

// Event tells an operator what happened to a request. It never holds a key, a body or a fingerprint.
type Event struct {
	Kind EventKind
	// Scope is the key's scope; empty for a request without a key.
	Scope string
	// Status is the HTTP status of the response, where there is one.
	Status int
	// Duration is the time since the request reached the engine.
	Duration time.Duration
	// Cached reports that Config.Cache had the record that Replayed and Reused are about, and that the store was not asked.
	Cached bool
	// Count is the number of records, for Reaping and Stuck.
	Count int
	// Err is the cause, for the operator. Database errors may be in it; do not show it to clients.
	Err error
}

// Observer is told of events, in the goroutine of the request. It must be fast and must not panic.
type Observer func(ctx context.Context, event Event)

// LogObserver returns an Observer that writes events to logger: what went wrong as a warning or an error, the rest at
// debug level. Causes are logged by their code alone, since a database's message may quote a row.
func LogObserver(logger *slog.Logger) Observer {
	return func(ctx context.Context, event Event) {
		level := slog.LevelDebug
		switch event.Kind {
		case Failed, Stuck:
			level = slog.LevelError
		case UnknownResolved, Reused, Limited:
			level = slog.LevelWarn
		case Reaping, Resumed:
			level = slog.LevelInfo
		}
		if !logger.Enabled(ctx, level) {
			return
		}
		attrs := make([]slog.Attr, 0, 5)
		if event.Scope != "" {
			attrs = append(attrs, slog.String("scope", event.Scope))
		}
		if event.Status != 0 {
			attrs = append(attrs, slog.Int("status", event.Status))
		}
		if event.Kind == Reaping || event.Kind == Stuck {
			attrs = append(attrs, slog.Int("count", event.Count))
		}
		attrs = append(attrs, slog.Duration("duration", event.Duration))
		if event.Err != nil {
			attrs = append(attrs, slog.String("code", string(AsError(event.Err).Code)))
		}
		logger.LogAttrs(ctx, level, "idempotency: "+string(event.Kind), attrs...)
	}
}
