package redisstore

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/onlyonce/onlyonce/idempotency"
)

// page is how many keys are asked about at a time.
const page = 500

// overdue is a pending key whose lease is over.
type overdue struct {
	bucket bucket
	member string
	since  int64 // microseconds of its server's clock
}

// Pending lists the pending keys that the completer may resume, and counts those that it has given up. It asks the index of every
// bucket, all in one round trip to each node, and then about the keys whose lease is over, a page of them at a time: what it takes grows with
// those, given-up ones too, and not with what else is stored. In a cluster "oldest" goes by each node's own clock. A key whose
// hash is damaged is not listed, since nobody can resume it, and counted as given up.
func (s *Store) Pending(ctx context.Context, due idempotency.Due) (idempotency.PendingKeys, error) {
	var found idempotency.PendingKeys
	all, err := s.overdue(ctx)
	if err != nil {
		return found, refusedBy(err)
	}
	var candidates []overdue
	for chunk := range slices.Chunk(all, page) {
		ages, err := s.ages(ctx, chunk)
		if err != nil {
			return found, refusedBy(err)
		}
		for i, age := range ages {
			if age.word() != "due" {
				continue
			}
			since, damaged := age.number(1)
			over, _ := age.number(2)
			tried, err := age.number(3)
			if tried < 0 || tried > math.MaxInt32 {
				err = errors.New("which the store never writes")
			}
			switch {
			case damaged != nil, err != nil, tried >= int64(due.MaxCompletions):
				found.Stuck++
			case time.Duration(over)*time.Millisecond >= pause(due, int(tried)):
				chunk[i].since = since
				candidates = append(candidates, chunk[i])
			}
		}
	}
	slices.SortFunc(candidates, func(a, b overdue) int {
		return cmp.Or(cmp.Compare(a.since, b.since), cmp.Compare(a.member, b.member))
	})
	for len(candidates) > 0 && len(found.Keys) < due.Limit {
		chunk := candidates[:min(len(candidates), due.Limit-len(found.Keys))]
		candidates = candidates[len(chunk):]
		if err := s.details(ctx, chunk, &found); err != nil {
			return found, refusedBy(err)
		}
	}
	return found, nil
}

// overdue lists what the indexes have.
func (s *Store) overdue(ctx context.Context) ([]overdue, error) {
	var all []overdue
	offsets := map[int]int{}
	for n := range buckets {
		offsets[n] = 0
	}
	for len(offsets) > 0 {
		cmds := map[int]*redis.Cmd{}
		err := s.pipelined(ctx, func(pipe redis.Pipeliner) {
			for n, offset := range offsets {
				cmds[n] = pipe.Eval(ctx, overdueScript, []string{s.bucket(n).index}, offset, page)
			}
		})
		if err != nil {
			return nil, err
		}
		for n, cmd := range cmds {
			members, err := cmd.StringSlice()
			if err != nil {
				return nil, err
			}
			for _, member := range members {
				all = append(all, overdue{bucket: s.bucket(n), member: member})
			}
			if offsets[n] += page; len(members) < page {
				delete(offsets, n)
			}
		}
	}
	return all, nil
}

// ages asks about keys of a page.
func (s *Store) ages(ctx context.Context, keys []overdue) ([]reply, error) {
	cmds := make([]*redis.Cmd, len(keys))
	err := s.pipelined(ctx, func(pipe redis.Pipeliner) {
		for i, key := range keys {
			cmds[i] = pipe.Eval(ctx, ageScript, []string{key.bucket.rows + key.member})
		}
	})
	ages := make([]reply, len(keys))
	for i := 0; i < len(keys) && err == nil; i++ {
		ages[i], err = cmds[i].Slice()
		if redis.HasErrorPrefix(err, "WRONGTYPE") {
			ages[i], err = reply{"due"}, nil // of no age: it is damaged
		}
	}
	return ages, err
}

// details adds keys to what was found, with all that the completer needs. Of one that was completed meanwhile nothing is left.
func (s *Store) details(ctx context.Context, keys []overdue, found *idempotency.PendingKeys) error {
	cmds := make([]*redis.SliceCmd, len(keys))
	err := s.pipelined(ctx, func(pipe redis.Pipeliner) {
		for i, key := range keys {
			cmds[i] = pipe.HMGet(ctx, key.bucket.rows+key.member,
				"state", "scope", "key", "owner", "fingerprint", "point", "steps", "request", "attempt", "completions", "error")
		}
	})
	if err != nil {
		return err
	}
	for _, cmd := range cmds {
		fields, err := cmd.Result()
		if err != nil {
			return err
		}
		row := reply(fields)
		if row.word() != "pending" {
			continue
		}
		scope, _ := row.text(1)
		value, _ := row.text(2)
		owner, _ := row.text(3)
		p, err := row.progress(4)
		key := idempotency.Key{Scope: scope, Value: value}
		if err != nil || len(owner) != tokenBytes || key.Check() != nil {
			found.Stuck++
			continue
		}
		found.Keys = append(found.Keys, idempotency.Pending{Key: key, Progress: p})
	}
	return nil
}

// pipelined sends what queue queues, in one round trip to each node. Errors that the server answers with are those of the single commands.
func (s *Store) pipelined(ctx context.Context, queue func(pipe redis.Pipeliner)) error {
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	pipe := s.client.Pipeline()
	queue(pipe)
	_, err := pipe.Exec(ctx)
	var answered redis.Error
	if errors.As(err, &answered) {
		return nil
	}
	return err
}

// pause returns how long the completer waits after its n-th attempt.
func pause(due idempotency.Due, n int) time.Duration {
	if n == 0 {
		return 0
	}
	wait := min(due.Backoff, due.MaxBackoff)
	for range n - 1 {
		if wait > due.MaxBackoff/2 {
			return due.MaxBackoff
		}
		wait *= 2
	}
	return wait
}

// CountPending adds up what the buckets have counted of the scope, in one round trip to each node.
func (a *attempt) CountPending(ctx context.Context, limit int) (int, error) {
	cmds := make([]*redis.StringCmd, buckets)
	err := a.store.pipelined(ctx, func(pipe redis.Pipeliner) {
		for n := range cmds {
			cmds[n] = pipe.HGet(ctx, a.store.bucket(n).counts, a.key.Scope)
		}
	})
	if err != nil {
		return 0, refusedBy(err)
	}
	pending := 0
	for _, cmd := range cmds {
		text, err := cmd.Result()
		if errors.Is(err, redis.Nil) {
			continue
		}
		if err != nil {
			return 0, refusedBy(err)
		}
		count, _ := strconv.Atoi(text)
		pending += max(count, 0)
	}
	return min(pending, limit), nil
}
