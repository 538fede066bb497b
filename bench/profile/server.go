package main

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"text/tabwriter"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onlyonce/onlyonce/bench/contender"
	"github.com/onlyonce/onlyonce/bench/measure"
)

// booksSQL is what the server has counted since it was last told to forget, the dearest first.
const booksSQL = `SELECT query, calls, total_exec_time * 1000, total_plan_time * 1000, shared_blks_hit + shared_blks_read, wal_records, wal_bytes::bigint
FROM pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND query !~ 'pg_stat_statements'
ORDER BY total_exec_time DESC`

// statements prints what a payment's statements cost the server.
func statements(ctx context.Context, admin *pgxpool.Pool, payments int64, stdout io.Writer) error {
	rows, err := admin.Query(ctx, booksSQL)
	if err != nil {
		return err
	}
	defer rows.Close()
	table := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "a payment\texecutions\tµs\tbuffers\twal records\twal bytes\t")
	each := func(n float64) float64 { return n / float64(payments) }
	var sum [5]float64
	for rows.Next() {
		var query string
		var calls, buffers, records, bytes int64
		var executing, planning float64
		if err := rows.Scan(&query, &calls, &executing, &planning, &buffers, &records, &bytes); err != nil {
			return err
		}
		if each(float64(calls)) < 0.01 {
			continue // what is prepared, or done once
		}
		fmt.Fprintf(table, "%s", brief(query))
		for i, n := range []float64{float64(calls), executing + planning, float64(buffers), float64(records), float64(bytes)} {
			sum[i] += each(n)
			fmt.Fprintf(table, "\t%.1f", each(n))
		}
		fmt.Fprintln(table, "\t")
	}
	if err := rows.Err(); err != nil {
		return err
	}
	fmt.Fprint(table, "all")
	for _, n := range sum {
		fmt.Fprintf(table, "\t%.1f", n)
	}
	fmt.Fprintln(table, "\t")
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(stdout)
	return nil
}

var blanks = regexp.MustCompile(`\s+`)

// brief returns as much of a statement as tells which one it is.
func brief(query string) string {
	const most = 60
	query = blanks.ReplaceAllString(strings.TrimSpace(query), " ")
	if len(query) > most {
		query = query[:most-1] + "…"
	}
	return query
}

// plansAfter is how many payments come before the one whose plans are printed: by then plans are generic, and pages are there.
const plansAfter = 200

// plans prints how the statements of one payment were executed, on a connection of its own.
func plans(ctx context.Context, place contender.Place, kind contender.Kind, stdout io.Writer) error {
	config := place.Pool.Config()
	config.MaxConns, config.MinConns = 1, 1
	for name, value := range map[string]string{
		"auto_explain.log_min_duration": "0", "auto_explain.log_analyze": "on", "auto_explain.log_wal": "on", "auto_explain.log_buffers": "on",
		"auto_explain.log_timing": "on", "auto_explain.log_level": "notice", "client_min_messages": "notice",
	} {
		config.ConnConfig.RuntimeParams[name] = value
	}
	var mu sync.Mutex
	var last []string
	config.ConnConfig.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		mu.Lock()
		defer mu.Unlock()
		last = append(last, n.Message)
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return err
	}
	defer pool.Close()
	place.Pool, place.Workers = pool, 1
	at, err := kind.Open(ctx, place)
	if err != nil {
		return err
	}
	defer at.Close()
	for range plansAfter {
		mu.Lock()
		last = nil
		mu.Unlock()
		if _, err := at.Pay(ctx, measure.RandomKey()); err != nil {
			return err
		}
	}
	fmt.Fprintln(stdout, "plans of one payment:")
	mu.Lock()
	defer mu.Unlock()
	for _, plan := range last {
		fmt.Fprintln(stdout, strings.ReplaceAll("\n"+plan, "\n", "\n\t"))
	}
	return nil
}
