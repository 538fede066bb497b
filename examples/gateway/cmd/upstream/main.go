// Command upstream serves a payments service that knows nothing of idempotency keys, and misbehaves.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/onlyonce/onlyonce/examples/gateway/upstream"
)

const usage = `upstream serves a payments service that knows nothing of idempotency keys: each POST is another payment.

	upstream -ledger payments.jsonl -temper rotten
	curl -d '{"reference":"order-1","amount":100}' -H 'Fate: answer' http://127.0.0.1:9000/payments
	curl http://127.0.0.1:9000/payments

Its temper says what it does in turn: steady answers; moody fails every other time, before it has paid; rotten has always paid, and
hangs, sends half of its answer, or dies every other time. A request's header Fate overrules that: answer, decline, fail, fail-after, hang,
cut or die. It ends by itself when it dies (status 3), and when it is interrupted.

`

func main() {
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	listen := flag.String("listen", "127.0.0.1:9000", "`address` to serve on; port 0 takes a free one, which is printed")
	ledger := flag.String("ledger", "payments.jsonl", "`file` that payments are appended to")
	temper := flag.String("temper", "steady", "steady, moody or rotten")
	flag.Parse()
	if err := serve(*listen, *ledger, *temper); err != nil {
		log.Fatal("upstream: ", err)
	}
}

func serve(listen, file, temper string) error {
	if _, ok := upstream.Tempers[temper]; !ok || flag.NArg() > 0 {
		var known []string
		for name := range upstream.Tempers {
			known = append(known, name)
		}
		slices.Sort(known)
		return fmt.Errorf("give -temper as one of %s, and nothing behind the flags", strings.Join(known, ", "))
	}
	ledger, err := upstream.OpenLedger(file)
	if err != nil {
		return err
	}
	defer ledger.Close()
	service, err := upstream.New(ledger, upstream.Tempers[temper], func() { os.Exit(3) })
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	fmt.Printf("upstream (%s) on http://%s\n", temper, listener.Addr())

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	server := &http.Server{Handler: service.Handler(), ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
