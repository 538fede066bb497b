package stack

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/onlyonce/onlyonce/integration/database"
)

// TestMain is two programs: the tests, and a server process that a test starts to kill it.
func TestMain(m *testing.M) {
	if encoded := os.Getenv(serverVariable); encoded != "" {
		os.Exit(serverProcess(encoded))
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
	code := m.Run()
	if err := found.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}
