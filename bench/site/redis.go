package site

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/onlyonce/onlyonce/internal/redisserver"
)

// server is a Redis server.
type server struct {
	address, says string
	stop          func() error
}

// errNoRedis is told in the place of every figure that Redis is needed for.
var errNoRedis = errors.New("no redis-server on this machine: install redis, or set REDIS_URL to one that may be filled")

// startRedis starts a server with an append-only file that is synced every second, Redis's own advice to those who keep data in it;
// neither Fiber's documentation nor that of SET NX asks for more.
func startRedis(ctx context.Context, url string) (*server, error) {
	if url != "" {
		options, err := redis.ParseURL(url)
		if err != nil {
			return nil, fmt.Errorf("REDIS_URL: %w", err)
		}
		s := &server{address: options.Addr, stop: func() error { return nil }}
		s.says, err = greet(ctx, s.address)
		return s, err
	}
	running, err := redisserver.Start(ctx, "--appendonly", "yes", "--appendfsync", "everysec")
	if errors.Is(err, redisserver.ErrNoProgram) {
		return nil, errNoRedis
	}
	if err != nil {
		return nil, err
	}
	s := &server{address: running.Address, stop: running.Stop}
	version, err := greet(ctx, s.address)
	if err != nil {
		return nil, errors.Join(err, s.stop())
	}
	s.says = version + ", appendonly yes, appendfsync everysec"
	return s, nil
}

var versionLine = regexp.MustCompile(`redis_version:(\S+)`)

// greet waits for the server to answer, and returns its version.
func greet(ctx context.Context, address string) (string, error) {
	client := redis.NewClient(&redis.Options{Addr: address})
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		info, err := client.Info(ctx, "server").Result()
		if err == nil {
			if found := versionLine.FindStringSubmatch(info); found != nil {
				return found[1], nil
			}
			return "of unknown version", nil
		}
		select {
		case <-ctx.Done():
			return "", err
		case <-time.After(20 * time.Millisecond):
		}
	}
}
