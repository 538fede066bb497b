package secrets

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/internal/wireproxy"
)

func TestMain(m *testing.M) {
	if databaseURL := os.Getenv(serverVariable); databaseURL != "" {
		fmt.Fprintln(os.Stderr, "server process:", serve(databaseURL))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// patience bounds what must happen soon.
const patience = 20 * time.Second

// world is a server process, and all that has left it.
type world struct {
	*testing.T
	*places
	name  string // of its schema, and of its connections
	url   string
	pool  *pgxpool.Pool // beside the server's
	proxy *wireproxy.Proxy
	ended chan struct{} // by standard output and error
}

func start(t *testing.T) *world {
	schema := pgtest.Schema(t)
	w := &world{T: t, places: newPlaces(), name: schema, pool: pgtest.Pool(t, schema), ended: make(chan struct{}, 2)}
	_, err := w.pool.Exec(t.Context(), `CREATE TABLE cards (number text PRIMARY KEY);
		CREATE TABLE charges (number text);
		CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN RAISE EXCEPTION 'the number % is refused', NEW.number USING ERRCODE = '23514', DETAIL = NEW.number; END $$;
		CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON charges DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()`)
	require.NoError(t, err)
	direct := pgtest.SchemaURL(t, schema) + "&application_name=" + schema
	w.proxy, err = wireproxy.Listen(direct, wireproxy.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = w.proxy.Close() })
	databaseURL, err := w.proxy.URL(direct)
	require.NoError(t, err)

	cmd := exec.CommandContext(context.Background(), os.Args[0])
	cmd.Env = append(os.Environ(), serverVariable+"="+databaseURL)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Process.Kill()
		<-w.ended
		<-w.ended
		_ = cmd.Wait()
	})
	address := make(chan string, 1)
	go w.listen(stdout, func(line []byte) {
		var s said
		if err := json.Unmarshal(line, &s); err != nil || s == (said{}) {
			w.add("standard output", line)
			return
		}
		w.add("the metrics", []byte(s.Metric))
		w.add("the causes", []byte(s.Cause))
		if s.Address != "" {
			address <- s.Address
		}
	})
	go w.listen(stderr, func(line []byte) { w.add("the log", line) })
	select {
	case w.url = <-address:
	case <-time.After(patience):
		require.FailNow(t, "the server does not listen", w.get("the log"))
	}
	return w
}

func (w *world) listen(from io.Reader, heard func(line []byte)) {
	defer func() { w.ended <- struct{}{} }()
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		heard(lines.Bytes())
	}
}

func request(t *testing.T, w *world, path, body string, header ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+w.url+path, strings.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

// send returns status, and code where there is one. All of the answer is searched, as well as what the database shows of its clients.
func (w *world) send(r *http.Request) (status int, code string) {
	w.Helper()
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(r)
	if err != nil {
		w.add("the answers", []byte(strings.ReplaceAll(err.Error(), r.URL.String(), ""))) // which the client has put there
		return 0, ""
	}
	defer response.Body.Close()
	all, err := httputil.DumpResponse(response, true)
	require.NoError(w, err)
	w.add("the answers", all)
	var problem struct{ Code string }
	_, body, _ := bytes.Cut(all, []byte("\r\n\r\n"))
	_ = json.Unmarshal(body, &problem)
	w.activity()
	return response.StatusCode, problem.Code
}

// activity is what everybody can see who may look into the database's list of connections.
func (w *world) activity() {
	w.Helper()
	var text string
	require.NoError(w, w.pool.QueryRow(context.WithoutCancel(w.Context()),
		`SELECT coalesce(string_agg(concat_ws(' ', application_name, query), E'\n'), '') FROM pg_stat_activity WHERE application_name = $1`, w.name).Scan(&text))
	w.add("the database's activity", []byte(text))
}

// pay sends a payment that says what is to become of it.
func (w *world) pay(key, do string) (int, string) {
	w.Helper()
	return w.send(w.payment(key, do, `{"card":"`+card+`"}`))
}

func (w *world) payment(key, do, body string) *http.Request {
	w.Helper()
	return request(w.T, w, "/pay/"+card, body, "Idempotency-Key", key, "Do", do)
}

func (w *world) wants(wantStatus int, wantCode string) func(status int, code string) {
	return func(status int, code string) {
		w.Helper()
		require.Equal(w, wantStatus, status, code)
		require.Equal(w, wantCode, code)
	}
}

func TestNoSecretLeavesTheProcess(t *testing.T) {
	t.Parallel()
	w := start(t)
	w.wants(201, "")(w.pay(key, ""))
	w.wants(201, "")(w.pay(key, "")) // replayed
	w.wants(422, "key-reused")(w.send(w.payment(key, "", "other")))
	w.wants(402, "")(w.pay(key+"-refused", "refuse"))
	w.wants(402, "")(w.pay(key+"-refused", "refuse"))

	w.wants(400, "key-missing")(w.send(request(t, w, "/pay/"+card, "{}")))
	w.wants(400, "key-invalid")(w.pay(key+",b", ""))
	w.wants(400, "key-invalid")(w.pay(strings.Repeat(key, 20), ""))
	stranger := w.payment(key, "", "{}")
	stranger.Header.Set("Authorization", "Bearer "+token+"x")
	w.wants(403, "scope-missing")(w.send(stranger))
	w.wants(413, "request-too-large")(w.send(w.payment(key, "", strings.Repeat(card, 100))))
	w.cutOff()
	w.wants(500, "response-too-large")(w.pay(key+"-much", "much"))

	w.wants(500, "internal")(w.pay(key+"-fail", "fail"))
	w.wants(500, "internal")(w.pay(key+"-database", "fail in the database"))
	w.wants(500, "transaction-aborted")(w.pay(key+"-quote", "quote"))
	w.wants(503, "transaction-conflict")(w.pay(key+"-conflict", "conflict"))
	w.wants(500, "transaction-aborted")(w.pay(key+"-deferred", "deferred"))
	w.wants(500, "transaction-ended")(w.pay(key+"-end", "end"))
	w.wants(0, "")(w.pay(key+"-panic", "panic"))
	w.wants(500, "nested")(w.pay(key+"-nest", "nest"))
	w.wants(500, "step-misuse")(w.pay(key+"-misuse", "misuse"))
	w.wants(409, "lease-lost")(w.pay(key+"-lose", "lose"))

	w.wants(503, "")(w.pay(key+"-left", "leave"))
	w.wants(503, "steps-changed")(w.pay(key+"-left", "change"))
	w.wants(503, "")(w.pay(key+"-left-2", "leave"))
	w.wants(429, "too-many-pending")(w.pay(key+"-left-3", "leave")) // with the key whose lease was lost they are three

	_, err := w.pool.Exec(t.Context(), `UPDATE idempotency_keys SET status = 42, headers = convert_to('Etag: '||$1, 'UTF8'), body = convert_to($1, 'UTF8') WHERE key = $2`,
		card+key+token, key+"-refused")
	require.NoError(t, err)
	w.wants(500, "record-unreadable")(w.pay(key+"-refused", "refuse"))
	w.inProgress()
	w.lostCommits()

	for _, kind := range []string{"claimed", "replayed", "conflicted", "reused", "completed", "refused", "released", "unknown-resolved", "failed", "resumed", "limited"} {
		require.Contains(t, w.get("the log"), `"idempotency: `+kind+`"`)
		require.Contains(t, w.get("the metrics"), "Kind:"+kind)
	}
	require.Contains(t, w.get("the log"), "panic serving")
	require.Contains(t, w.get("the database's activity"), "idempotency_keys")
	// What the database says reaches the operator's own Observer as Event.Err, whose documentation warns of it, and nobody else.
	require.Equal(t, []string{"the card number in the causes"}, w.found())
}

// cutOff sends a request whose body ends early.
func (w *world) cutOff() {
	w.Helper()
	conn, err := net.Dial("tcp", w.url)
	require.NoError(w, err)
	defer conn.Close()
	require.NoError(w, conn.SetDeadline(time.Now().Add(patience)))
	_, err = fmt.Fprintf(conn, "POST /pay/%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nIdempotency-Key: %s\r\nContent-Length: 900\r\n\r\n%s", card, token, key+"-cut", card)
	require.NoError(w, err)
	require.NoError(w, conn.(*net.TCPConn).CloseWrite())
	answer, err := io.ReadAll(conn)
	require.NoError(w, err)
	require.Contains(w, string(answer), "request-unreadable")
	w.add("the answers", answer)
}

func (w *world) inProgress() {
	w.Helper()
	slow := make(chan int, 1)
	go func() {
		response, err := http.DefaultClient.Do(w.payment(key+"-slow", "slow", "{}"))
		if err != nil {
			slow <- 0
			return
		}
		_ = response.Body.Close()
		slow <- response.StatusCode
	}()
	require.Eventually(w, func() bool { return strings.Contains(w.get("the metrics"), slowly) }, patience, time.Millisecond)
	w.wants(409, "in-progress")(w.send(w.payment(key+"-slow", "", "{}")))
	response, err := http.Get("http://" + w.url + "/go")
	require.NoError(w, err)
	_ = response.Body.Close()
	require.Equal(w, 201, <-slow)
}

// lostCommits are those whose reply does not come: one that happened, one that did not, and one of which it cannot be told.
func (w *world) lostCommits() {
	w.Helper()
	w.proxy.At(wireproxy.Statement.Commits, wireproxy.CutAfter)
	w.wants(201, "")(w.pay(key+"-committed", ""))
	w.proxy.At(wireproxy.Statement.Commits, wireproxy.CutBefore)
	w.wants(503, "store-unavailable")(w.pay(key+"-cut-off", ""))
	orphan := w.proxy.At(wireproxy.Statement.Commits, wireproxy.Orphan)
	w.wants(503, "outcome-unknown")(w.pay(key+"-unknown", ""))
	orphan.Resume()
}

// A search that finds nothing could be one that never does.
func TestASecretThatIsToldIsFound(t *testing.T) {
	t.Parallel()
	for _, form := range [][2]string{{"plain"}, {"hex"}, {"query"}, {"base64", ""}, {"base64", "x"}, {"base64", "xy"}} {
		t.Run(form[0]+form[1], func(t *testing.T) {
			t.Parallel()
			w := start(t)
			var told []string
			for name, secret := range planted {
				status, _ := w.send(request(t, w, "/leak", secret, "Form", form[0], "Shift", form[1]))
				require.Equal(t, 200, status)
				for _, place := range []string{"the answers", "the causes", "the database's activity", "the log", "the metrics"} {
					told = append(told, name+" in "+place)
				}
				slices.Sort(told)
				require.Eventually(t, func() bool { return len(w.found()) >= len(told) }, patience, time.Millisecond)
				require.Equal(t, told, w.found())
			}
		})
	}
}
