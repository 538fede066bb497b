package redisstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/onlyonce/onlyonce/idempotency"
)

// ask runs a script within the store's bound.
func (s *Store) ask(ctx context.Context, sc script, keys []string, args ...any) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	return sc.Run(ctx, s.client, keys, args...).Slice()
}

// written runs a script that writes what must not be lost, and waits for the replicas where there have to be some.
func (s *Store) written(ctx context.Context, sc script, keys []string, args ...any) (reply, error) {
	if s.config.Replicas == 0 {
		return s.ask(ctx, sc, keys, args...)
	}
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	return s.replicated(ctx, sc, keys, args)
}

// insisted runs a script that writes until it is known what has come of it. A reply that was lost, and a server that is away, say nothing
// of that: the first run may have been the one that counted, also where the client has sent it again by itself. Its error is
// ErrOutcomeUnknown.
//
// again says that it was asked again, since an earlier run may have been lost.
func (s *Store) insisted(ctx context.Context, sc script, keys []string, args ...any) (answer reply, again bool, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.config.ReadBackTimeout)
	defer cancel()
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, 250*time.Millisecond) {
		answer, err = s.written(ctx, sc, keys, args...)
		if err == nil {
			return answer, again, nil
		}
		if refused(err) {
			break
		}
		again = again || mayHaveRun(err)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
			continue
		case <-ctx.Done():
			timer.Stop()
		}
		break
	}
	return nil, again, idempotency.ErrOutcomeUnknown.Because(fmt.Errorf("redisstore: Redis did not say whether the key is stored: %w", explained(err)))
}

// refused reports that the server has understood, and will say the same the next time; or that the client is closed.
func refused(err error) bool {
	var answered redis.Error
	if !errors.As(err, &answered) {
		return errors.Is(err, redis.ErrClosed)
	}
	for _, passes := range []func(error) bool{
		redis.IsLoadingError, redis.IsReadOnlyError, redis.IsClusterDownError, redis.IsTryAgainError, redis.IsMasterDownError, redis.IsMaxClientsError,
		redis.IsNoReplicasError, redis.IsOOMError,
	} {
		if passes(err) {
			return false
		}
	}
	_, moved := redis.IsMovedError(err)
	_, asks := redis.IsAskError(err)
	return !moved && !asks && !redis.HasErrorPrefix(err, "BUSY") && !redis.HasErrorPrefix(err, "MISCONF")
}

// mayHaveRun reports whether a script may have run, or may still do so, although there is only an error of it.
func mayHaveRun(err error) bool {
	var dial *net.OpError
	var answered redis.Error
	switch {
	case errors.As(err, &dial) && dial.Op == "dial", errors.As(err, &answered):
		return false
	}
	return !errors.Is(err, redis.ErrClosed) && !errors.Is(err, redis.ErrPoolTimeout) && !errors.Is(err, redis.ErrPoolExhausted)
}

// refusedBy is the error of what did not happen.
func refusedBy(err error) error {
	if redis.HasErrorPrefix(err, "WRONGTYPE") {
		return errUnreadable
	}
	return idempotency.ErrStoreUnavailable.Because(fmt.Errorf("redisstore: %w", explained(err)))
}

// explained adds to an error what to do about it, where that is known.
func explained(err error) error {
	switch {
	case redis.IsOOMError(err):
		return fmt.Errorf("the server is full and takes no new keys; raise its maxmemory, or shorten the retention: %w", err)
	case redis.IsReadOnlyError(err):
		return fmt.Errorf("the server is a replica; give the client the master's address, or Sentinel's, or the cluster's: %w", err)
	case redis.IsPermissionError(err), strings.Contains(err.Error(), "user executing the script can't"):
		return fmt.Errorf("the user may not do what the store needs; redisstore/README.md has the ACL: %w", err)
	}
	return err
}

// milliseconds is a duration as scripts take it, rounded up so that nothing lasts for less than it was said to.
func milliseconds(d time.Duration) int64 {
	return max(int64((d+time.Millisecond-1)/time.Millisecond), 0)
}
