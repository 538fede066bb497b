// Package receipts sends out what was written beside a captured payment: a transactional outbox. A receipt is there if and only
// if the payment is, and is delivered at least once: a process that dies between a delivery and its commit leaves it to
// be delivered again, so that the receiver must know it by its id.
package receipts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Receipt says that a card payment was captured.
type Receipt struct {
	ID          string
	CardPayment string
	Account     string
	Body        json.RawMessage
}

// Deliver sends one receipt. An error leaves it to the next pass.
type Deliver func(ctx context.Context, receipt Receipt) error

// NotDelivered says which receipt Deliver failed for. Its text is safe to log: the cause is there for errors.As.
type NotDelivered struct {
	Receipt string
	Err     error
}

func (e *NotDelivered) Error() string {
	return fmt.Sprintf("receipt %s was not delivered (%T)", e.Receipt, e.Err)
}

func (e *NotDelivered) Unwrap() error { return e.Err }

// Config configures a Worker. The zero value works.
type Config struct {
	// Interval is the time between two looks at an empty outbox. Default: 1 second.
	Interval time.Duration
	// Batch is how many receipts are locked and delivered in one transaction. Default: 20.
	Batch int
	// Timeout bounds one batch. Default: 5 seconds, half of what pgstore.Configure lets a transaction idle.
	Timeout time.Duration
}

// Worker delivers receipts. Any number of them may run, in any number of processes: a receipt is with one of them at a time.
type Worker struct {
	pool    *pgxpool.Pool
	deliver Deliver
	logger  *slog.Logger
	config  Config
}

// NewWorker returns a Worker. It starts no goroutine and touches no network.
func NewWorker(pool *pgxpool.Pool, deliver Deliver, logger *slog.Logger, config Config) *Worker {
	if config.Interval <= 0 {
		config.Interval = time.Second
	}
	if config.Batch <= 0 {
		config.Batch = 20
	}
	if config.Timeout <= 0 {
		config.Timeout = 5 * time.Second
	}
	return &Worker{pool, deliver, logger, config}
}

// Run delivers until ctx ends, finishes the batch that it has begun, and returns ctx's error.
func (w *Worker) Run(ctx context.Context) error {
	ticker := time.NewTicker(w.config.Interval)
	defer ticker.Stop()
	for {
		more, err := w.Pass(ctx)
		if err != nil {
			w.logger.ErrorContext(ctx, "delivering receipts failed, and is tried again", "cause", causeForLog(err))
		}
		if more && err == nil && ctx.Err() == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// Pass delivers one batch, oldest first. It reports whether more may be waiting. Those that could not be delivered keep their place.
func (w *Worker) Pass(ctx context.Context) (more bool, err error) {
	// A batch that has begun is finished: stopping in its middle would deliver it twice.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.config.Timeout)
	defer cancel()
	var failures []error
	// Read committed, so that a row which another worker has delivered meanwhile is looked at again, and left out.
	err = pgx.BeginTxFunc(ctx, w.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, lockBatch, w.config.Batch)
		if err != nil {
			return err
		}
		batch, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Receipt])
		if err != nil {
			return err
		}
		more = len(batch) == w.config.Batch
		var delivered []string
		for _, receipt := range batch {
			if err := w.deliver(ctx, receipt); err != nil {
				failures = append(failures, &NotDelivered{receipt.ID, err})
				continue
			}
			delivered = append(delivered, receipt.ID)
		}
		if len(delivered) == 0 {
			return nil
		}
		_, err = tx.Exec(ctx, markDelivered, delivered)
		return err
	})
	if err != nil {
		return false, err
	}
	return more, errors.Join(failures...)
}
