package opened

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

func open(t *testing.T) *Store {
	t.Helper()
	store, err := Open([]byte(`{"dsn":"postgres://nobody@127.0.0.1:1/x"}`)) // it is not asked anything
	require.NoError(t, err)
	return store
}

func TestAClosedNumberNeverNamesAStoreAgain(t *testing.T) {
	t.Parallel()
	var table Table
	seen := map[uint64]bool{0: true}
	for range 100 {
		first, second := table.Add(open(t)), table.Add(open(t))
		require.False(t, seen[first] || seen[second] || first == second)
		require.NoError(t, table.Close(first))
		require.ErrorIs(t, table.Close(first), errNotOpen)
		third := table.Add(open(t)) // in the place of the first
		require.False(t, seen[third] || third == first)
		_, _, err := table.Use(first)
		require.ErrorIs(t, err, errNotOpen)
		require.NoError(t, table.Close(second))
		require.NoError(t, table.Close(third))
		seen[first], seen[second], seen[third] = true, true, true
	}
	assert.Len(t, table.places, 2)
}

func TestAPlaceWhoseNumbersAreUsedUpIsLeftAlone(t *testing.T) {
	t.Parallel()
	var table Table
	require.NoError(t, table.Close(table.Add(open(t))))
	table.places[0].generation = 1<<32 - 2
	last := table.Add(open(t))
	require.NoError(t, table.Close(last))
	next := table.Add(open(t))
	assert.NotEqual(t, uint32(last), uint32(next))
	require.NoError(t, table.Close(next))
}

func TestCloseWaitsForWhoUsesTheStoreAndLetsNobodyIn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var table Table
		number := table.Add(open(t))
		_, done, err := table.Use(number)
		require.NoError(t, err)
		closed := make(chan error)
		go func() { closed <- table.Close(number) }()
		synctest.Wait()
		_, _, err = table.Use(number)
		require.ErrorIs(t, err, errNotOpen)
		select {
		case <-closed:
			t.Fatal("it closed under a call")
		default:
		}
		done()
		require.NoError(t, <-closed)
	})
}

func TestOneOfManyClosesSucceeds(t *testing.T) {
	t.Parallel()
	var table Table
	number := table.Add(open(t))
	var mu sync.Mutex
	var all sync.WaitGroup
	good := 0
	for range 16 {
		all.Go(func() {
			if table.Close(number) == nil {
				mu.Lock()
				good++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	assert.Equal(t, 1, good)
}

func TestTheConfigurationHasDefaultsAndTakesEachMember(t *testing.T) {
	t.Parallel()
	c, err := parse([]byte(` {"dsn" : "x"} `))
	require.NoError(t, err)
	assert.Equal(t, config{dsn: "x", connections: 8, lease: 30 * time.Second, timeout: 5 * time.Second, settle: 10 * time.Second,
		retention: 24 * time.Hour, remember: 24 * time.Hour}, c)
	c, err = parse([]byte(`{"dsn":"x","schema":"s","lease_ms":1,"timeout_ms":2,"settle_timeout_ms":3,` +
		`"retention_s":4,"remember_s":5,"max_connections":6,"pooler":true}`))
	require.NoError(t, err)
	assert.Equal(t, config{"x", "s", time.Millisecond, 2 * time.Millisecond, 3 * time.Millisecond, 4 * time.Second, 5 * time.Second, 6, true}, c)
}

func TestTheHeaderAndTheREADMENameEveryMember(t *testing.T) {
	t.Parallel()
	header, err := os.ReadFile("../../include/onlyonce.h")
	require.NoError(t, err)
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	for _, name := range members {
		assert.Regexp(t, `(?m)^ \*   `+name+` `, string(header))
		assert.Contains(t, string(readme), "| `"+name+"` |")
	}
	for name, n := range numbers {
		assert.Contains(t, string(readme), fmt.Sprintf("| `%s` | %d |", name, n.usual))
		assert.Regexp(t, fmt.Sprintf(`(?s) \*   %s .{0,90}Default: %d\n`, name, n.usual), string(header))
	}
}

func FuzzAConfigurationIsReadOrRefused(f *testing.F) {
	for _, text := range []string{
		`{"dsn":"x"}`, `{"dsn":"x","dsn":"y"}`, `{"lease_ms":9223372036854775807,"dsn":"x"}`, `{`, "\xff", `{"dsn":"\ud800"}`, `{"pooler":null,"dsn":"x"}`, `{"dsn":"x","lease_ms":0}`, `{"dsn":""}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := parse(text)
		if err != nil {
			return
		}
		require.NotEmpty(t, c.dsn)
		for _, span := range []time.Duration{c.lease, c.timeout, c.settle, c.retention, c.remember} {
			require.Positive(t, span)
		}
		require.Positive(t, c.connections)
	})
}

func TestErrorsBecomeCodes(t *testing.T) {
	t.Parallel()
	refused := &pgconn.PgError{Code: "42501", Message: "permission denied"}
	for _, c := range []struct {
		err   error
		want  Code
		retry bool
		state string
	}{
		{idempotency.ErrLeaseLost, Lease, true, ""},
		{idempotency.ErrOutcomeUnknown.Because(errors.New("cut")), Unknown, true, ""},
		{idempotency.ErrStoreUnavailable.Because(refused), Unavailable, true, "42501"},
		{idempotency.ErrKeyInvalid, Key, false, ""},
		{idempotency.ErrKeyMissing, Key, false, ""},
		{idempotency.ErrScopeMissing, Key, false, ""},
		{idempotency.ErrResponseTooLarge, TooLarge, false, ""},
		{idempotency.ErrRecordUnreadable, Unreadable, false, ""},
		{idempotency.ErrTransactionConflict, Conflict, true, ""},
		{idempotency.ErrInternal, Internal, false, ""},
		{fmt.Errorf("asking: %w", refused), SQL, false, "42501"},
		{errors.New("of nobody's"), Internal, false, ""},
		{fmt.Errorf("around: %w", errNotOpen), Handle, false, ""},
	} {
		f := FailureOf(c.err)
		assert.Equal(t, []any{c.want, c.retry, c.state}, []any{f.Code, f.Retryable, f.SQLState}, "%v", c.err)
		assert.NotEmpty(t, f.Message)
	}
}

func TestAPanicsValueIsRepeatedOnlyWhereItIsTheRuntimes(t *testing.T) {
	t.Parallel()
	assert.NotContains(t, Panicked("key-4711").Message, "4711")
	defer func() { assert.Contains(t, Panicked(recover()).Message, "index out of range") }()
	var none []int
	none[len(t.Name())]++
}
