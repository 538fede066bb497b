package trial

import (
	"context"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"slices"
	"time"

	"github.com/onlyonce/onlyonce/bench/child"
	"github.com/onlyonce/onlyonce/bench/contender"
	"github.com/onlyonce/onlyonce/bench/payment"
	"github.com/onlyonce/onlyonce/bench/report"
)

const (
	// killClients pay at a time.
	killClients = 16
	// killStale is after how long contenders that go by the clock take a payment for dead. Longer makes the second payment come
	// later, not less often.
	killStale = 2 * time.Second
	// killIdle is how long a server may take to its first answer, before the time to its death is drawn all the same.
	killIdle = 2 * time.Second
)

// killed is what became of the keys under one contender.
type killed struct {
	keys, twice, lost, stuck, wrong int
	compared                        bool
	longest                         time.Duration
	cause                           failures // what the longest wait was for
}

// waits is the longest wait, and what for.
func (k killed) waits() string {
	says := fmt.Sprintf("%.1f s", k.longest.Seconds())
	if k.cause.any() {
		says += " (" + k.cause.says() + ")"
	}
	return says
}

// says is the column beside the figures of speed.
func (k killed) says() string {
	says := fmt.Sprintf("%d paid twice, %d stuck", k.twice, k.stuck)
	if k.lost > 0 {
		says += fmt.Sprintf(", %d lost", k.lost)
	}
	if k.wrong > 0 {
		says += fmt.Sprintf(", %d answered in two ways", k.wrong)
	}
	return says
}

// kills has clients pay at a server that is killed and started again, under each contender.
func (b *Bench) kills(ctx context.Context) (report.Part, error) {
	kinds := b.present(killable)
	found := map[string]killed{}
	part := report.Part{Name: "kills", Safety: map[string]string{}}
	for _, kind := range kinds {
		k, err := b.kill(ctx, kind)
		if err != nil {
			return part, fmt.Errorf("kills of %s: %w", kind.Name, err)
		}
		found[kind.Name] = k
		part.Safety[kind.Name] = k.says()
		if kind.Name == "onlyonce" {
			harm := k.twice + k.lost + k.stuck + k.wrong
			part.Goals = append(part.Goals, report.Goal{
				Says:   fmt.Sprintf("%d SIGKILLs of the server: paid twice, lost, stuck, answered in two ways", b.Kills),
				Wanted: "0", Measured: fmt.Sprintf("%d, %d, %d, %d of %d keys", k.twice, k.lost, k.stuck, k.wrong, k.keys), Reached: harm == 0,
			})
		}
	}
	table := report.Table{
		Title: fmt.Sprintf("%d SIGKILLs of the server, %d clients at a time, each retrying its key until %v after the last", b.Kills, killClients, b.Patience),
		Head:  []string{"contender", "keys", "paid twice", "lost", "stuck", "answered in two ways", "longest wait"},
	}
	table.Rows = b.rows(len(table.Head)-1, killable, func(kind contender.Kind) []string {
		k := found[kind.Name]
		wrong := "–"
		if k.compared {
			wrong = fmt.Sprint(k.wrong)
		}
		return []string{fmt.Sprint(k.keys), fmt.Sprint(k.twice), fmt.Sprint(k.lost), fmt.Sprint(k.stuck), wrong, k.waits()}
	})
	part.Tables = []report.Table{table}
	return part, nil
}

// killable leaves out what is no protection and no baseline.
func killable(kind contender.Kind) bool { return kind.Replays || kind.Name == contender.Baseline }

func (b *Bench) kill(ctx context.Context, kind contender.Kind) (killed, error) {
	if err := b.Site.Forget(ctx); err != nil {
		return killed{}, err
	}
	// The listener is ours, and its queue with it: a client that comes between two servers waits for the next one.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return killed{}, err
	}
	defer listener.Close()
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		return killed{}, err
	}
	defer file.Close()
	start := func() (*child.Process, error) {
		server, err := child.Start(ctx, serverRole, serverOrder{Coordinates: b.Site.Coordinates, Kind: kind.Name}, file)
		if err != nil {
			return nil, err
		}
		var ready bool
		return server, server.Hear(&ready)
	}
	random := mathrand.New(mathrand.NewPCG(b.Seed, b.Seed))
	crowd := newCrowd(ctx, "http://"+listener.Addr().String()+"/", b.Patience)
	crowd.begin(killClients)
	for n := range b.Kills {
		b.Progress("kills: %s, %d of %d", kind.Name, n+1, b.Kills)
		server, err := start()
		if err != nil {
			crowd.end()
			return killed{}, err
		}
		// A server that has answered nothing yet is not killed: on a loaded machine that would befall one after the other, and the wait
		// would be the machine's.
		select {
		case <-crowd.next():
		case <-time.After(killIdle):
		case <-ctx.Done():
		}
		select {
		case <-time.After(time.Duration(200+random.IntN(400)) * time.Millisecond):
		case <-ctx.Done():
		}
		server.Kill()
	}
	server, err := start()
	if err != nil {
		crowd.end()
		return killed{}, err
	}
	defer server.End()
	b.Progress("kills: %s, its clients go on until they have their answers", kind.Name)
	crowd.end()
	if ctx.Err() != nil {
		return killed{}, ctx.Err()
	}
	return b.audit(ctx, kind, crowd)
}

// audit counts what became of the keys; then it asks again for those whose client had to.
func (b *Bench) audit(ctx context.Context, kind contender.Kind, crowd *crowd) (killed, error) {
	var k killed
	rows, err := b.Site.Admin.Query(ctx, `SELECT key, array_agg(id) FROM payments GROUP BY key`)
	if err != nil {
		return k, err
	}
	paid := map[string][]int64{}
	for rows.Next() {
		var key string
		var ids []int64
		if err := rows.Scan(&key, &ids); err != nil {
			return k, err
		}
		paid[key] = ids
	}
	if err := rows.Err(); err != nil {
		return k, err
	}
	again := 0
	for key, client := range crowd.clients {
		k.keys++
		if len(paid[key]) > 1 {
			k.twice++
		}
		if client.body == "" {
			k.stuck++
			continue
		}
		if client.waited > k.longest {
			k.longest, k.cause = client.waited, client.failed
		}
		// Lost is an answer whose payment is not there, be it that another one of the key's is.
		if !slices.ContainsFunc(paid[key], func(id int64) bool { return client.body == string(payment.Body(id)) }) {
			k.lost++
		}
		if kind.Replays && client.failed.any() && again < 300 {
			again++
			body, err := crowd.again(key)
			if ctx.Err() != nil {
				return k, ctx.Err()
			}
			if err != nil || body != client.body {
				k.wrong++
			}
		}
	}
	k.compared = kind.Replays
	if k.keys == 0 {
		return k, errors.New("no key was sent")
	}
	return k, nil
}
