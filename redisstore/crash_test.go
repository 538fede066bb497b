package redisstore_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/redisstore"
)

// crashLease is what a crash blocks its key for.
const crashLease = 500 * time.Millisecond

// asWorker makes a process of the test's own program one that begins an operation, and is killed in it.
const asWorker = "ONLYONCE_REDISSTORE_WORKER"

// worker runs one operation, says when it has come to the place where it is to be killed, and goes no further.
func worker(url, prefix, value, place string) error {
	options, err := redis.ParseURL(url)
	if err != nil {
		return err
	}
	client := redis.NewClient(options)
	store, err := redisstore.New(client, redisstore.Config{Prefix: prefix, Lease: crashLease})
	if err != nil {
		return err
	}
	engine, err := idempotency.New(store, idempotency.Config{})
	if err != nil {
		return err
	}
	_, err = engine.Run(context.Background(), idempotency.Request{Key: idempotency.Key{Scope: "alice", Value: value}}, func(ctx context.Context) (idempotency.Response, error) {
		if place == afterTheEffect {
			if err := client.Incr(ctx, effects(prefix, value)).Err(); err != nil {
				return idempotency.Response{}, err
			}
		}
		fmt.Println("here")
		select {}
	})
	return err
}

const (
	beforeTheEffect = "before the effect"
	afterTheEffect  = "between the effect and the completion"
)

// effects is the name of what counts the effects of an operation.
func effects(prefix, value string) string { return prefix + " effects " + value }

func TestAProcessThatIsKilledRepeatsWhatTheDocumentationAdmits(t *testing.T) {
	t.Parallel()
	const kills = 5
	client := client(t)
	url := os.Getenv("REDIS_URL")
	if url == "" {
		url = "redis://" + client.Options().Addr
	}
	for place, repeats := range map[string]int{beforeTheEffect: 0, afterTheEffect: 1} {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			store := open(t, client, redisstore.Config{Lease: crashLease})
			engine, err := idempotency.New(store, idempotency.Config{Wait: patience})
			require.NoError(t, err)
			var longest time.Duration
			for n := range kills {
				value := fmt.Sprint("killed-", n)
				count := effects(redisstore.Prefix(store), value)
				killed := killedAt(t, url, redisstore.Prefix(store), value, place)
				pays := func(ctx context.Context) (idempotency.Response, error) {
					return idempotency.Response{Status: 201}, client.Incr(ctx, count).Err()
				}
				for retry := range 3 {
					_, err := engine.Run(t.Context(), idempotency.Request{Key: idempotency.Key{Scope: "alice", Value: value}}, pays)
					require.NoError(t, err)
					if retry == 0 {
						longest = max(longest, time.Since(killed))
					}
				}
				happened, err := client.GetDel(t.Context(), count).Int()
				require.NoError(t, err)
				require.Equal(t, 1+repeats, happened, "effects of an operation whose process was killed %s", place)
			}
			t.Logf("%d of %d operations took effect twice; from the kill to the retry's answer it took %v at most, for a lease of %v",
				repeats*kills, kills, longest.Round(10*time.Millisecond), crashLease)
		})
	}
}

// killedAt starts a worker, kills it when it has come to the place, and returns when that was.
func killedAt(t *testing.T, url, prefix, value, place string) time.Time {
	t.Helper()
	program, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), asWorker+"="+strings.Join([]string{url, prefix, value, place}, "\n"))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	killed := time.Now()
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	require.NoError(t, err)
	require.Equal(t, "here\n", line)
	return killed
}
