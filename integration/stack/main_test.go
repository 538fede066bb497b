package stack

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/onlyonce/onlyonce/integration/database"
)

// TestMain is several programs: the tests, and what a test starts to kill it.
func TestMain(m *testing.M) {
	for variable, program := range map[string]func(string) int{
		serverVariable: serverProcess, cardVariable: cardProcess, providerVariable: providerProcess,
	} {
		if encoded := os.Getenv(variable); encoded != "" {
			os.Exit(program(encoded))
		}
	}
	os.Exit(testProcess(m))
}

func testProcess(m *testing.M) int {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	// Containers first, since they are what most services run on. Under make test the database is given.
	found, err := database.Find(ctx, database.Given, database.Docker, database.Local)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("stack: using", found.How)
	if err := os.Setenv(database.URLVariable, found.URL); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupted
		killChildren()
		_ = found.Close()
		os.Exit(130)
	}()
	code := m.Run()
	results.print(os.Stdout)
	if err := found.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}
