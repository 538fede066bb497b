// Command onlyonce is a plugin for Kong that keeps idempotency keys in front of a service. Kong starts it as a plugin server; see README.md.
package main

import (
	"bytes"
	"io"
	"log"
	"os"

	"github.com/Kong/go-pdk/server"

	"github.com/onlyonce/onlyonce/gateway/kong/plugin"
)

func main() {
	log.SetOutput(quiet{os.Stderr})
	if err := server.StartServer(plugin.New, plugin.Version, plugin.Priority); err != nil {
		log.Fatal(err)
	}
}

// quiet leaves out what go-pdk logs of connections that end as they should: one line for each that Kong lets go of, and one for each request that the
// plugin answers.
type quiet struct{ to io.Writer }

func (q quiet) Write(line []byte) (int, error) {
	for _, usual := range []string{"EOF\n", "use of closed network connection\n"} {
		if bytes.HasSuffix(line, []byte(usual)) && !bytes.HasSuffix(line, []byte("unexpected "+usual)) {
			return len(line), nil
		}
	}
	return q.to.Write(line)
}
