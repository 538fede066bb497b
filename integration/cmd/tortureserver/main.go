// Command tortureserver is a payments service that is started to be broken: killed, stopped, cut off from its database. Package
// torture starts it, and tells it what to do on its standard input; when that closes, it ends.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"
)

// settings are what the server is started with.
type settings struct {
	database, schema, provider string
	connections                int
	lease, wait, idle          time.Duration
	maintenance                time.Duration
	unprotected                bool
	lock                       string
}

func main() {
	var with settings
	flags := flag.NewFlagSet("tortureserver", flag.ExitOnError)
	flags.StringVar(&with.database, "database", "", "the database's URL")
	flags.StringVar(&with.schema, "schema", "public", "where its tables are")
	flags.StringVar(&with.provider, "provider", "", "the URL of who charges cards")
	flags.IntVar(&with.connections, "connections", 8, "the size of the pool")
	flags.DurationVar(&with.lease, "lease", time.Second, "how long a key with a recovery point belongs to a silent attempt")
	flags.DurationVar(&with.wait, "wait", 0, "how long a duplicate waits before it is told 409")
	flags.DurationVar(&with.idle, "idle", time.Second, "how long a transaction may stand still")
	flags.DurationVar(&with.maintenance, "maintenance", 200*time.Millisecond, "the interval of completer and reaper")
	flags.BoolVar(&with.unprotected, "unprotected", false, "leave idempotency out, to see that it is missed")
	flags.StringVar(&with.lock, "lock", "", "what keeps two attempts off one key: local, shard or insert")
	_ = flags.Parse(os.Args[1:]) // ExitOnError
	if err := serve(with); err != nil {
		fmt.Fprintln(os.Stderr, "tortureserver:", err)
		os.Exit(1)
	}
}
