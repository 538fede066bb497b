// Package pgtest gives every test a real PostgreSQL and a schema of its own in it.
package pgtest

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/onlyonce/onlyonce/internal/ephemeral"
)

// Variable names the environment variable that says which database to use.
const Variable = "DATABASE_URL"

// One cluster for all tests of a binary. Its guard stops it when the binary ends.
var sharedCluster = sync.OnceValues(func() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cluster, err := ephemeral.Start(ctx, ephemeral.Options{})
	if err != nil {
		return "", err
	}
	return cluster.URL(""), nil
})

// URL is the database to test against: DATABASE_URL where it is set, else a cluster that is started once for this test
// binary from the machine's own PostgreSQL binaries, and is gone when the binary ends. The test fails where there is
// neither: no test is ever skipped for want of a database.
func URL(tb testing.TB) string {
	tb.Helper()
	url, err := find()
	if err != nil {
		tb.Fatal(err)
	}
	return url
}

func find() (string, error) {
	if url := os.Getenv(Variable); url != "" {
		return url, nil
	}
	url, err := sharedCluster()
	if err != nil {
		return "", fmt.Errorf("no PostgreSQL to test against. One of these helps:\n"+
			"  set %s=postgres://user:password@host:port/database, whose user may create schemas\n"+
			"  install PostgreSQL's server binaries: a cluster is then started and removed by itself\n"+
			"  start Docker and run `make test`\n"+
			"Why there is no cluster of our own: %w", Variable, err)
	}
	return url, nil
}
