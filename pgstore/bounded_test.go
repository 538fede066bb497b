package pgstore

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type contextKey struct{}

// What package context asks of a context, in any order, a bounded one answers as context.WithTimeout does.
func TestABoundedContextIsAContext(t *testing.T) {
	t.Parallel()
	store := &Store{config: Config{Timeout: time.Hour}}
	cause := errors.New("the caller has gone")
	outer, cancelOuter := context.WithCancelCause(context.WithValue(context.WithValue(context.Background(), contextKey{}, 1), txKey{}, &attempt{}))

	bound, end := store.bounded(outer)
	nested, endNested := store.bounded(bound)
	defer endNested()
	require.NoError(t, bound.Err())
	require.Equal(t, 1, nested.Value(contextKey{}))
	require.Nil(t, nested.Value(txKey{}))
	first, _ := bound.Deadline()
	second, _ := nested.Deadline()
	require.Equal(t, first, second)
	require.Equal(t, outer, beyond(nested))

	child, endChild := context.WithCancel(nested)
	defer endChild()
	ran := make(chan struct{})
	context.AfterFunc(nested, func() { close(ran) })
	cancelOuter(cause)
	<-child.Done()
	<-ran
	require.ErrorIs(t, nested.Err(), context.Canceled)
	require.Equal(t, cause, context.Cause(child))
	end()
	end()

	short, endShort := (&Store{config: Config{Timeout: time.Millisecond}}).bounded(context.Background())
	defer endShort()
	<-short.Done()
	require.ErrorIs(t, short.Err(), context.DeadlineExceeded)

	late, endLate := store.bounded(context.Background())
	endLate()
	require.ErrorIs(t, late.Err(), context.Canceled, "it ended before anybody asked")
}

func TestABoundedContextMayBeAskedByMany(t *testing.T) {
	t.Parallel()
	for range 100 {
		bound, end := (&Store{config: Config{Timeout: time.Hour}}).bounded(context.Background())
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() { <-bound.Done() })
			all.Go(func() { _, _ = bound.Value(contextKey{}), bound.Err() })
		}
		end()
		all.Wait()
	}
}
