package backend

import (
	"crypto/tls"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/onlyonce/onlyonce/redisstore"
)

func openRedis(address string, options Options) (*Backend, error) {
	client, hosts, err := redisClient(address, options)
	if err != nil {
		return nil, err
	}
	store, err := redisstore.New(client, redisstore.Config{
		Prefix: options.Prefix, Replicas: options.Replicas, AnyPersistence: options.AnyPersistence, Timeout: options.Timeout,
	})
	if err != nil {
		_ = client.Close()
		return nil, err
	}
	return &Backend{store, "Redis at " + hosts, store.Check, func() { _ = client.Close() }}, nil
}

// errRedis holds nothing of the URL, in which the password is.
var errRedis = errors.New("backend: the Redis URL cannot be read: use redis://user:password@host:6379/0, or rediss:// for TLS, " +
	"and for a cluster redis://host1:6379,host2:6379, with what is special in a password as %40 and the like")

// redisClient makes a client of one server, or of a cluster where several addresses are given. The client heeds contexts, so that the store's
// bounds hold in the middle of a round trip.
func redisClient(address string, options Options) (client redis.UniversalClient, hosts string, err error) {
	scheme, rest, _ := strings.Cut(address, "://")
	authority, after := rest, ""
	if end := strings.IndexAny(rest, "/?"); end >= 0 {
		authority, after = rest[:end], rest[end:]
	}
	user := ""
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		user, authority = authority[:at+1], authority[at+1:]
	}
	nodes := strings.Split(authority, ",")
	parsed, err := url.Parse(scheme + "://" + user + nodes[0] + after)
	if err != nil || authority == "" {
		return nil, "", errRedis
	}
	query := parsed.Query()
	for _, node := range nodes[1:] {
		query.Add("addr", node)
	}
	parsed.RawQuery = query.Encode()
	if query.Has("addr") {
		cluster, err := redis.ParseClusterURL(parsed.String())
		if err != nil {
			return nil, "", errRedis
		}
		cluster.ContextTimeoutEnabled = true
		cluster.TLSConfig = withTLS(cluster.TLSConfig, options)
		cluster.ReadTimeout = orTimeout(cluster.ReadTimeout, options)
		return redis.NewClusterClient(cluster), strings.Join(cluster.Addrs, ","), nil
	}
	single, err := redis.ParseURL(parsed.String())
	if err != nil {
		return nil, "", errRedis
	}
	single.ContextTimeoutEnabled = true
	single.TLSConfig = withTLS(single.TLSConfig, options)
	single.ReadTimeout = orTimeout(single.ReadTimeout, options)
	return redis.NewClient(single), single.Addr, nil
}

// withTLS is the configuration that rediss:// has asked for, with what the options add to it. The URL names the server.
func withTLS(asked *tls.Config, options Options) *tls.Config {
	if asked == nil || options.TLS == nil {
		return asked
	}
	merged := options.TLS.Clone()
	if merged.ServerName == "" {
		merged.ServerName = asked.ServerName
	}
	return merged
}

func orTimeout(set time.Duration, options Options) time.Duration {
	if set == 0 {
		return options.Timeout
	}
	return set
}
