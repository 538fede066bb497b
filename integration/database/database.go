// Package database finds a PostgreSQL to work against, whatever the machine has: one that it is told of, one that it
// starts from local binaries, or one in a container. What it starts is gone after [Database.Close], or with the process.
package database

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/onlyonce/onlyonce/internal/ephemeral"
)

// Way is where a database may come from.
type Way string

const (
	// Given is the database that DATABASE_URL names. It is nobody's to stop.
	Given Way = "given"
	// Local is a throw-away cluster from this machine's PostgreSQL binaries: up in a second.
	Local Way = "local"
	// Docker is a container of [Image].
	Docker Way = "docker"
)

const (
	// URLVariable is the environment variable that names a database.
	URLVariable = "DATABASE_URL"
	// WayVariable, set to local or docker, leaves out the other one. DATABASE_URL still counts where it is set.
	WayVariable = "ONLYONCE_TEST_POSTGRES"
	// Image is the container image of [Docker].
	Image = "postgres:17-alpine"
)

// Database is a PostgreSQL that answers.
type Database struct {
	// URL is its connection string, of a user who may create schemas.
	URL string
	// How says in one line where it came from.
	How string

	close func() error
}

// Close ends what was started for this database. A second call does nothing.
func (d *Database) Close() error {
	closing := d.close
	d.close = nil
	if closing == nil {
		return nil
	}
	return closing()
}

// Search is how to look for a database. Its zero value takes the ways in the order given, local, docker.
type Search struct {
	Order []Way
	// Durable has a database that is started here keep fsync on: for measurements. One that is given is as it is.
	Durable bool
	// Settings are postgresql.conf settings for a database that is started here.
	Settings map[string]string
	// Folder is where the binaries of a local cluster are. Empty: ephemeral.FindBinaries looks for them.
	Folder string
	// Image is the container image. Empty: [Image].
	Image string
}

// Find is [Search.Find] with nothing but an order.
func Find(ctx context.Context, order ...Way) (*Database, error) {
	return Search{Order: order}.Find(ctx)
}

// Find returns the first database that can be had. ctx bounds the search, not the database's life.
func (s Search) Find(ctx context.Context) (*Database, error) {
	order, err := s.order(os.Getenv(WayVariable))
	if err != nil {
		return nil, err
	}
	var failures []string
	for _, way := range order {
		found, err := s.try(ctx, way)
		if err == nil {
			return found, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("find a PostgreSQL: %s: %w", way, err)
		}
		failures = append(failures, fmt.Sprintf("  %s: %v", way, err))
	}
	return nil, &notFoundError{failures: failures}
}

func (s Search) order(forced string) ([]Way, error) {
	order := s.Order
	if len(order) == 0 {
		order = []Way{Given, Local, Docker}
	}
	for _, way := range order {
		if !slices.Contains([]Way{Given, Local, Docker}, way) {
			return nil, fmt.Errorf("no way %q to find a PostgreSQL: use given, local or docker", way)
		}
	}
	switch Way(forced) {
	case "":
		return order, nil
	case Local, Docker:
		kept := []Way{}
		for _, way := range order {
			if way == Given || way == Way(forced) {
				kept = append(kept, way)
			}
		}
		return kept, nil
	default:
		return nil, fmt.Errorf("%s is %q: set it to local or docker, or leave it unset", WayVariable, forced)
	}
}

func (s Search) try(ctx context.Context, way Way) (*Database, error) {
	switch way {
	case Given:
		return given()
	case Local:
		return s.local(ctx)
	default:
		return s.docker(ctx)
	}
}

func given() (*Database, error) {
	url := os.Getenv(URLVariable)
	if url == "" {
		return nil, errors.New(URLVariable + " is not set")
	}
	return &Database{URL: url, How: "the database that " + URLVariable + " names"}, nil
}

func (s Search) local(ctx context.Context) (*Database, error) {
	cluster, err := ephemeral.Start(ctx, ephemeral.Options{BinDir: s.Folder, Durable: s.Durable, Settings: s.Settings})
	if err != nil {
		return nil, err
	}
	return &Database{
		URL:   cluster.URL(""),
		How:   "a throw-away cluster from local PostgreSQL binaries",
		close: cluster.Stop,
	}, nil
}

// notFoundError names every way, and why each did not work here.
type notFoundError struct {
	failures []string
}

func (e *notFoundError) Error() string {
	return "no PostgreSQL found. One of these helps:\n" +
		"  set " + URLVariable + "=postgres://user:password@host:port/database, whose user may create schemas\n" +
		"  install PostgreSQL's server binaries (Debian: apt-get install postgresql): a cluster is started and removed by itself\n" +
		"  start Docker: a container of " + Image + " is started and removed by itself\n" +
		"What was tried:\n" + strings.Join(e.failures, "\n")
}
