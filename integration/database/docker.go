package database

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/modules/postgres"
)

// docker starts a container. Testcontainers' own reaper removes it if this process is killed.
func (s Search) docker(ctx context.Context) (*Database, error) {
	if err := DockerAnswers(ctx); err != nil {
		return nil, err
	}
	image := cmp.Or(s.Image, Image)
	container, err := postgres.Run(ctx, image,
		postgres.WithDatabase("onlyonce"),
		postgres.WithUsername("postgres"),
		postgres.WithPassword("postgres"),
		postgres.BasicWaitStrategies(),
		testcontainers.WithCmd(s.command()...),
	)
	remove := func() error {
		if err := testcontainers.TerminateContainer(container); err != nil {
			return fmt.Errorf("remove the PostgreSQL container: %w", err)
		}
		return nil
	}
	if err != nil {
		_ = remove() // the first error is the one that matters
		return nil, fmt.Errorf("start a container of %s: %w", image, err)
	}
	url, err := container.ConnectionString(ctx, "sslmode=disable")
	if err != nil {
		_ = remove()
		return nil, fmt.Errorf("ask the container for its address: %w", err)
	}
	return &Database{URL: url, How: "a container of " + image, close: remove}, nil
}

func (s Search) command() []string {
	settings := map[string]string{"max_connections": "300"}
	if !s.Durable {
		settings["fsync"] = "off"
		settings["full_page_writes"] = "off"
	}
	maps.Copy(settings, s.Settings)
	command := []string{"postgres"}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		command = append(command, "-c", name+"="+settings[name])
	}
	return command
}

// DockerAnswers asks the daemon. Testcontainers panics on some machines that have no Docker.
func DockerAnswers(ctx context.Context) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("docker does not answer: %v", reason)
		}
	}()
	provider, err := testcontainers.ProviderDocker.GetProvider()
	if err != nil {
		return fmt.Errorf("docker does not answer: %w", err)
	}
	if err := provider.Health(ctx); err != nil {
		return fmt.Errorf("docker does not answer: %w", err)
	}
	return nil
}
