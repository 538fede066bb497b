package growth

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onlyonce/onlyonce/internal/pgtest"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func testWorld(t *testing.T) *world {
	t.Helper()
	c, err := Config{URL: pgtest.URL(t)}.withDefaults()
	must(t, err)
	w, err := newWorld(t.Context(), c, fmt.Sprintf("test_%x", mix(uint64(time.Now().UnixNano()))))
	must(t, err)
	t.Cleanup(w.drop)
	return w
}

// What is measured beside generated records holds for real ones only as far as they take the same room, column by column.
func TestAGeneratedRecordIsLikeOneThatTheStoreWrote(t *testing.T) {
	t.Parallel()
	w := testWorld(t)
	ctx := t.Context()
	const n = 4711
	must(t, w.do(ctx, fmt.Sprintf(`ALTER TABLE payments ALTER id RESTART WITH %d`, n)))
	_, err := w.engine.Run(ctx, again(n), pay)
	must(t, err)
	shape := func() string {
		rows, err := w.pool.Query(ctx, `SELECT attname || ': ' || coalesce(CASE WHEN attname ~ '_at$' THEN 'some time' END, jsonb_extract_path_text(to_jsonb(k), attname), 'null')
			FROM idempotency_keys k, pg_attribute WHERE attrelid = 'idempotency_keys'::regclass AND attnum > 0
			UNION ALL SELECT 'kept for ' || (expires_at - completed_at)::text || ', of ' || pg_column_size(k) || ' bytes' FROM idempotency_keys k ORDER BY 1`)
		must(t, err)
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		must(t, err)
		return strings.Join(lines, "\n")
	}
	real := shape()
	must(t, w.do(ctx, `TRUNCATE idempotency_keys`))
	must(t, w.copyRows(ctx, n, n+1, func(int) time.Time { return time.Now().Add(time.Hour) }))
	if generated := shape(); generated != real || !strings.Contains(real, "body: ") {
		t.Fatalf("generated:\n%s\n\nreal:\n%s", generated, real)
	}
}

func TestKeysAreAllDifferentAndTheSameEachTime(t *testing.T) {
	t.Parallel()
	seen := map[string]int{}
	for n := range 50_000 {
		value := keyOf(n).Value
		if len(value) != 36 || value[14] != '4' || value != keyOf(n).Value {
			t.Fatalf("%q is no random UUID", value)
		}
		if before, there := seen[value]; there {
			t.Fatalf("%d and %d have the key %q", before, n, value)
		}
		seen[value] = n
	}
}

func TestAFilledTableHasItsIndexesAndAsManyKeysOverAsItSays(t *testing.T) {
	t.Parallel()
	w := testWorld(t)
	ctx := t.Context()
	indexes := func() string {
		var all string
		must(t, w.pool.QueryRow(ctx, `SELECT string_agg(indexdef, E'\n' ORDER BY indexdef) FROM pg_indexes WHERE schemaname = current_schema() AND tablename LIKE 'idempotency_keys%'`).Scan(&all))
		return all
	}
	for _, partitions := range []int{0, 3} {
		must(t, w.divide(ctx, partitions))
		before := indexes()
		must(t, w.fill(ctx, 2000))
		if got := indexes(); got != before && partitions == 0 || strings.Count(got, "UNIQUE") != strings.Count(before, "UNIQUE") {
			t.Fatalf("before:\n%s\nafter:\n%s", before, got)
		}
		var rows, over, mostly int
		must(t, w.pool.QueryRow(ctx, `SELECT count(*), count(*) FILTER (WHERE expires_at <= now()), count(*) FILTER (WHERE expires_at BETWEEN now() + interval '30 minutes' AND now() + interval '24 hours')
			FROM idempotency_keys`).Scan(&rows, &over, &mostly))
		if rows != 2000 || over != w.over || over != 200 || mostly != 1800 {
			t.Fatalf("%d rows, of which %d are over, and %d will be within a day", rows, over, mostly)
		}
		must(t, replays(1<<62)(w)(ctx))
		space, err := w.space(ctx)
		must(t, err)
		if space.Table < 200 || space.PrimaryKey < 50 || space.Expiry < 10 || float64(space.Total) < 2000*(space.Table+space.PrimaryKey+space.Expiry) {
			t.Fatalf("%+v", space)
		}
	}
}

func TestADaysHoursAddUp(t *testing.T) {
	t.Parallel()
	for _, daily := range []int{1, 100, 12_345, 200_000} {
		total := 0
		for hour := range hours {
			total += ofHour(daily, hour)
		}
		if total != daily {
			t.Errorf("%d keys a day are %d", daily, total)
		}
	}
	if noon, midnight := ofHour(24_000, 12), ofHour(24_000, 0); noon != 3*midnight && (noon < 1400 || midnight > 600) {
		t.Errorf("%d at noon, %d at midnight", noon, midnight)
	}
}

// Everything once, as small as it gets.
func TestARunMeasuresAllOfIt(t *testing.T) {
	t.Parallel()
	var said []string
	r, err := Run(t.Context(), Config{
		URL: pgtest.URL(t), Sizes: []int{5000, 1000, 900_000_000_000}, Connections: 2, Rounds: 1, Length: 50 * time.Millisecond, Daily: 2400, Backlog: 20_000,
		Disk: 100e6, Set: map[string]string{"application_name": "growth"}, Progress: func(s string) { said = append(said, s) },
	})
	must(t, err)
	if len(r.Sizes) != 2 || r.Sizes[0].Keys != 1000 || r.Sizes[1].Keys != 5000 {
		t.Fatalf("%+v", r.Sizes)
	}
	for _, s := range r.Sizes {
		if s.Fresh <= 0 || s.FreshRelative <= 0 || s.FreshWAL <= 0 || s.FreshP99Relative <= 0 || s.Replay <= 0 || s.Warm <= 0 || s.Reap <= 0 || s.ReapRelative <= 0 {
			t.Errorf("%+v", s)
		}
	}
	if len(r.Left) != 1 || !strings.Contains(strings.Join(said, "\n"), r.Left[0]) {
		t.Errorf("left out: %q, said: %q", r.Left, said)
	}
	if len(r.Weeks) != 2 || r.Weeks[0].ScaleFactor >= r.Weeks[1].ScaleFactor {
		t.Fatalf("%+v", r.Weeks)
	}
	for _, week := range r.Weeks {
		if len(week.Days) != days || week.Days[days-1].Live != 2400 || week.Days[2].Vacuums == 0 || week.Bloat() < 1 || week.Bloat() > 5 {
			t.Errorf("%+v", week)
		}
	}
	if b := r.Beside; b == nil || b.Inserted <= 0 || b.Reaped <= 0 || b.P99Relative <= 0 {
		t.Errorf("%+v", b)
	}
	var schemas int
	conn, err := pgx.Connect(t.Context(), pgtest.URL(t))
	must(t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	must(t, conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_namespace WHERE nspname IN ('onlyonce_growth_size', 'onlyonce_growth_smallest', 'onlyonce_growth_week', 'onlyonce_growth_beside')`).Scan(&schemas))
	if schemas != 0 {
		t.Errorf("%d schemas are left", schemas)
	}

	const begin, end = "<!-- bench:growth -->\n", "<!-- /bench:growth -->\n"
	file := filepath.Join(t.TempDir(), "growth.md")
	must(t, os.WriteFile(file, []byte("before\n"+begin+"old\n"+end+"after\n"), 0o600))
	for range 2 {
		must(t, r.WriteInto(file))
	}
	written, err := os.ReadFile(file)
	must(t, err)
	if text := string(written); !strings.HasPrefix(text, "before\n"+begin+"PostgreSQL") || !strings.HasSuffix(text, end+"after\n") ||
		strings.Contains(text, "\nold\n") || strings.Count(text, "\n| 1 k |") != 2 || strings.Count(text, r.Left[0][8:]) != 1 {
		t.Errorf("%s", text)
	}
	must(t, os.WriteFile(file, []byte("no marker\n"), 0o600))
	if err := r.WriteInto(file); err == nil {
		t.Error("a document without its marks was written to")
	}
}

func TestSizesAreReadAndSpelled(t *testing.T) {
	t.Parallel()
	sizes, err := ParseSizes("10k, 1M,50M,2500")
	must(t, err)
	if got := fmt.Sprint(sizes); got != "[10000 1000000 50000000 2500]" {
		t.Error(got)
	}
	for _, wrong := range []string{"", "10kM", "-1", "k", "10G", "1,,2", "9999999M"} {
		if sizes, err := ParseSizes(wrong); err == nil {
			t.Errorf("%q was taken for %d", wrong, sizes)
		}
	}
	for n, want := range map[int]string{10_000: "10 k", 1_500_000: "1.5 M", 50_000_000: "50 M", 1234: "1234", 900: "900"} {
		if got := spell(n); got != want {
			t.Errorf("%d is spelled %q", n, got)
		}
	}
}

func TestWhatCannotBeMeasuredIsSaid(t *testing.T) {
	t.Parallel()
	for _, c := range []Config{{}, {URL: "x", Sizes: []int{10}}, {URL: "x", Rounds: -1}, {URL: "x", Partitions: -1}} {
		if _, err := Run(t.Context(), c); err == nil {
			t.Errorf("%+v was taken", c)
		}
	}
}
