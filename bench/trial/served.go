package trial

import (
	"bytes"
	"context"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/onlyonce/onlyonce/bench/contender"
	"github.com/onlyonce/onlyonce/bench/measure"
	"github.com/onlyonce/onlyonce/bench/payment"
	"github.com/onlyonce/onlyonce/bench/report"
)

// servedAt is how many clients ask at a time.
const servedAt = 8

// cachedAtLeast is what a replay from the cache of the process should be of a handler that does nothing.
const (
	cached        = "onlyonce-cache"
	cachedAtLeast = 0.90
)

// served compares replays with answering at all: over sockets, for those contenders that are HTTP handlers.
func (b *Bench) served(ctx context.Context) (report.Part, error) {
	nothing, _ := contender.Find("nothing")
	kinds := []contender.Kind{nothing}
	isHandler := func(kind contender.Kind) bool { return strings.HasSuffix(kind.Name, "-http") || kind.Name == cached }
	kinds = append(kinds, b.present(isHandler)...)
	keys, err := b.prepare(ctx, kinds)
	if err != nil {
		return report.Part{}, err
	}
	t, err := assemble(ctx, b.Site.Coordinates, servedAt, "0", kinds)
	if err != nil {
		return report.Part{}, err
	}
	defer t.dismiss()
	var turns []measure.Turn
	for i, kind := range kinds {
		handler, is := t.members[i].(contender.Handler)
		if !is {
			return report.Part{}, fmt.Errorf("%s cannot be served", kind.Name)
		}
		server := httptest.NewServer(handler.HTTP())
		defer server.Close()
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: servedAt}}
		defer client.CloseIdleConnections()
		ask := func(ctx context.Context) error {
			return post(ctx, client, server.URL+payment.Path, keys[kind.Name][mathrand.IntN(replayed)])
		}
		turns = append(turns, func(ctx context.Context, length time.Duration) (measure.Round, error) {
			return measure.Work(ctx, servedAt, length, ask)
		})
	}
	rounds, err := measure.Interleave(ctx, b.Rounds, b.Length/2, turns, func() { b.Progress("replays over HTTP") })
	if err != nil {
		return report.Part{}, err
	}
	part := report.Part{Name: "served"}
	table := report.Table{
		Title: fmt.Sprintf("Replays over HTTP on loopback, %d clients", servedAt),
		Head:  []string{"contender", "÷ a handler that does nothing", "/s", "p99 ms"},
	}
	for i, kind := range kinds {
		ratios := measure.Ratios(measure.PerSecond(rounds[i]), measure.PerSecond(rounds[0]))
		table.Rows = append(table.Rows, []string{kind.Name, fmt.Sprintf("%.2f", measure.Median(ratios)),
			fmt.Sprintf("%.0f", measure.Median(measure.PerSecond(rounds[i]))), fmt.Sprintf("%.2f", measure.Median(measure.P99s(rounds[i])))})
		if kind.Name == cached {
			part.Goals = append(part.Goals, goalAtLeast("replay with the in-process cache ÷ handler that does nothing", cachedAtLeast, ratios))
		}
	}
	part.Tables = []report.Table{table}
	return part, nil
}

// post asks once, and takes an answer that is none for an error.
func post(ctx context.Context, client *http.Client, url, key string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader([]byte(payment.RequestBody)))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", payment.ContentType)
	r.Header.Set("Idempotency-Key", key)
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != payment.Status {
		err = fmt.Errorf("answered %d: %s", answer.StatusCode, body)
	}
	return err
}
