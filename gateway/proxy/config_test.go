package proxy_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/gateway/proxy"
)

func documented(t *testing.T) string {
	t.Helper()
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(readme)
	require.NotNil(t, block)
	return string(block[1])
}

func described(t *testing.T, content string) string {
	t.Helper()
	config, err := proxy.Parse([]byte(content))
	require.NoError(t, err)
	var text strings.Builder
	require.NoError(t, config.Describe(&text))
	return text.String()
}

// What the file in README.md says is every setting there is, and each default is the one that counts where the setting is missing.
func TestTheDocumentedFileHasEverySettingAndItsDefault(t *testing.T) {
	t.Parallel()
	content := documented(t)
	whole, err := proxy.Parse([]byte(content))
	require.NoError(t, err)
	known := proxy.SettingNames()
	require.Greater(t, len(known), 50)
	for _, name := range known {
		require.Regexp(t, `(?m)(^|[\s{])`+name+`:`, content, "README.md lacks the setting %s", name)
	}

	bare, err := proxy.Parse([]byte(`
store: {url: "memory:"}
routes:
  - patterns: ["POST /v1/payments", "PATCH /v1/payments/{id}"]
    upstream: http://127.0.0.1:9000
    scope: {from: header, header: X-Account}
  - patterns: ["/"]
    upstream: http://127.0.0.1:9000
    scope: {from: header, header: X-Account}
    protect: off
`))
	require.NoError(t, err)
	require.Equal(t, proxy.Decided(bare), proxy.Decided(whole), "a default in README.md is another one than the program's")
	require.NoError(t, err)
	require.Equal(t, `POST /v1/payments, PATCH /v1/payments/{id}
  goes to http://127.0.0.1:9000
  POST and PATCH need a key; other methods pass through
  the key is in Idempotency-Key, and belongs to whoever X-Account names: what is in front must set it, and take it off what callers send
  the upstream has 30s to answer, of which 5s to be connected; the key is lent for 35s
  kept for 24h0m0s: 200-407, 410-424, 426-428, 430-499
  an unknown outcome holds the key until its lease ends
/
  goes to http://127.0.0.1:9000
  is not protected: requests pass through as they are
`, described(t, content))
}

const (
	good  = "store: {url: 'memory:'}\nroutes:\n  - patterns: [/]\n    upstream: http://127.0.0.1:1\n    scope: {from: shared}\n"
	route = "store: {url: 'memory:'}\nroutes:\n  - patterns: [/]\n    upstream: http://127.0.0.1:1\n"
)

func TestWhatIsWrongWithAFileIsSaidWithItsPlace(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	short := filepath.Join(dir, "short")
	require.NoError(t, os.WriteFile(short, []byte("hunter2\n"), 0o600))
	empty := filepath.Join(dir, "empty")
	require.NoError(t, os.WriteFile(empty, []byte("\n"), 0o600))
	for name, tt := range map[string]struct {
		content string
		want    []string
	}{
		"nothing":                  {"", []string{"store needs url or url_file", "routes is empty"}},
		"no YAML":                  {"routes: [", []string{"line 1"}},
		"two documents":            {good + "---\n" + good, []string{"second document"}},
		"unknown settings":         {good + "    protekt: off\nlissen: 1\n", []string{"line 6: field protekt is not a setting", "line 7: field lissen is not a setting"}},
		"no time":                  {good + "    timeout: soon\n    wait: 5\n", []string{"line 6: cannot take str `soon`, want a time such as 30s"}},
		"no size":                  {good + "    max_request_bytes: 3 potatoes\n", []string{`line 6: "3 potatoes" is no size`}},
		"too large a size":         {good + "    max_request_bytes: 3GiB\n", []string{`is no size`}},
		"no status":                {good + "    keep: [99]\n    release: [6xx, x]\n", []string{`"99" is no final status`, `"6xx"`, `"x"`}},
		"an unset variable":        {strings.Replace(good, "memory:", "${ONLYONCE_NOT_SET}", 1), []string{"${ONLYONCE_NOT_SET} is not in the environment"}},
		"an open variable":         {strings.Replace(good, "memory:", "${HOME", 1), []string{"is not in the environment"}},
		"both URLs":                {strings.Replace(good, "url:", "url_file: x, url:", 1), []string{"store needs url or url_file, and not both"}},
		"a missing file":           {strings.Replace(good, "url: 'memory:'", "url_file: "+dir+"/none", 1), []string{"store.url_file: cannot be read"}},
		"an empty file":            {strings.Replace(good, "url: 'memory:'", "url_file: "+empty, 1), []string{"store.url_file: " + empty + " is empty"}},
		"a missing token":          {strings.Replace(good, "url:", "token_file: "+empty+", url:", 1), []string{"store.token_file"}},
		"a short secret":           {good + "fingerprint: {secret_files: [" + short + "]}\n", []string{"less than 16 bytes"}},
		"no sealing key":           {good + "sealing: {keys_file: " + short + "}\n", []string{"sealing.keys_file: seal: entry 1"}},
		"mixed without keys":       {good + "sealing: {mixed: true}\n", []string{"sealing.mixed needs"}},
		"half of TLS":              {good + "listen: {tls: {key: x}}\n", []string{"listen.tls needs certificate and key"}},
		"h2c and TLS":              {good + "listen: {h2c: true, tls: {certificate: x, key: x}}\n", []string{"listen.h2c is for plain text"}},
		"a bad log":                {good + "log: {format: xml, level: loud}\n", []string{`log.format is "xml"`, `log.level is "loud"`}},
		"no scope":                 {route, []string{`route 1 (/): scope.from is ""`}},
		"a header without name":    {route + "    scope: {from: header}\n", []string{"scope.header names"}},
		"a name without header":    {route + "    scope: {from: shared, header: X}\n", []string{"scope.header names"}},
		"a certificate, and no CA": {route + "    scope: {from: client_certificate}\n", []string{"needs listen.tls.client_ca"}},
		"no pattern":               {strings.Replace(good, "[/]", "[]", 1), []string{"route 1 (no pattern): patterns is empty"}},
		"a bad pattern":            {strings.Replace(good, "[/]", "['/{']", 1), []string{"route 1 (/{): the pattern cannot be used"}},
		"two of a pattern":         {strings.Replace(good, "[/]", "[/, /]", 1), []string{"conflicts with pattern"}},
		"a method that is none":    {strings.Replace(good, "[/]", "['PUT /x']", 1), []string{`the pattern "PUT /x" is for PUT, which methods does not protect`}},
		"a safe method":            {good + "    methods: [GET]\n", []string{"methods has GET in it"}},
		"no upstream":              {strings.Replace(good, "http://127.0.0.1:1", "''", 1), []string{"upstream must be a URL"}},
		"another scheme":           {strings.Replace(good, "http:", "ftp:", 1), []string{"upstream must be a URL"}},
		"no host":                  {strings.Replace(good, "127.0.0.1:1", "/x", 1), []string{"upstream must be a URL"}},
		"a query":                  {strings.Replace(good, "127.0.0.1:1", "127.0.0.1:1?x=1", 1), []string{"upstream must be a URL"}},
		"a fragment":               {strings.Replace(good, "http://127.0.0.1:1", "'http://127.0.0.1:1#x'", 1), []string{"upstream must be a URL"}},
		"a password":               {strings.Replace(good, "http://", "http://u:hunter2@", 1), []string{"upstream must be a URL"}},
		"a lease too short":        {good + "    timeout: 30s\n    lease: 30s\n", []string{"lease is 30s: give at least timeout and 1s more, which is 31s"}},
		"a connect time too long":  {good + "    timeout: 1s\n    connect_timeout: 2s\n", []string{"connect_timeout is 2s: give 1ms to 1s"}},
		"no choice":                {good + "    unknown: drop\n    protect: maybe\n    host: none\n    connections: some\n    upstream_protocol: http3\n    key_format: int\n", []string{"unknown is", "protect is", "host is", "connections is", "upstream_protocol is", "key_format is"}},
		"kept and not":             {good + "    keep: [409]\n    release: [409]\n", []string{"409 is in keep, and in release"}},
		"kept and unknown":         {good + "    keep: [504]\n    unknown_statuses: [504]\n", []string{"504 is in keep, and in release or unknown_statuses"}},
		"a small response":         {good + "    max_response_bytes: 10\n", []string{"max_response_bytes is 10: give 1KiB to 64MiB"}},
		"no request":               {good + "    max_request_bytes: 0\n", []string{"max_request_bytes is 0"}},
		"the key as the attempt":   {good + "    attempt_header: idempotency-key\n", []string{"attempt_header must be"}},
		"an attempt without name":  {good + "    attempt_header: 'a(b'\n", []string{"attempt_header must be"}},
		"an attempt as the scope":  {route + "    scope: {from: header, header: X-Account}\n    attempt_header: x-account\n", []string{"attempt_header must be"}},
		"an attempt as the frame":  {good + "    attempt_header: Content-Length\n", []string{"attempt_header must be"}},
		"a scope without name":     {route + "    scope: {from: header, header: 'X Account'}\n", []string{"scope.header"}},
		"the scope as the host":    {route + "    scope: {from: header, header: Host}\n", []string{"scope.header"}},
		"a tab in a pattern":       {strings.Replace(good, "[/]", "[\"PUT\\t/x\"]", 1), []string{"is for PUT, which methods does not protect"}},
		"a grace too short":        {good + "    timeout: 2m\n", []string{"listen.grace is 1m0s: give at least the timeout of route 1 (/), which is 2m0s"}},
		"no port":                  {good + "listen: {address: localhost}\n", []string{"listen.address"}},
		"no port for operators":    {good + "admin: {address: 'localhost:nowhere'}\n", []string{"admin.address"}},
		"one address for both":     {good + "listen: {address: ':9090'}\nadmin: {address: ':9090'}\n", []string{"listen.address and admin.address"}},
		"no time to connect":       {good + "    protect: off\n    connect_timeout: -1s\n    idle_timeout: -1s\n", []string{"connect_timeout is -1s", "idle_timeout is -1s"}},
		"a bad CA of the store":    {strings.Replace(good, "url:", "tls: {ca: "+dir+"/none}, url:", 1), []string{"store.tls: the authority cannot be read"}},
		"a bad CA":                 {good + "    upstream_tls: {ca: " + short + "}\n", []string{"upstream_tls: " + short + " holds no certificate"}},
		"half a certificate":       {good + "    upstream_tls: {key: " + short + "}\n", []string{"upstream_tls: certificate and key cannot be used"}},
		"all of it at once":        {strings.Replace(good, "memory:", "", 1) + "    lease: 1s\n    methods: [GET]\nlog: {format: xml}\n", []string{"store needs", "log.format", "lease is", "methods has"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := proxy.Parse([]byte(tt.content))
			require.ErrorAs(t, err, new(proxy.Problems))
			for _, want := range tt.want {
				require.ErrorContains(t, err, want)
			}
			require.NotContains(t, err.Error(), "hunter2")
			require.NotContains(t, err.Error(), "proxy.")
			require.NotContains(t, err.Error(), "registered at")
		})
	}
}

func TestWhatOnlyShowsWhenRoutesArePutTogetherIsSaidByTheCheck(t *testing.T) {
	t.Parallel()
	for setting, want := range map[string]string{
		"replay_headers: [Set-Cookie]": "Set-Cookie",
		"key_headers: ['a b']":         "not a header's name",
		"fingerprint_headers: ['a:b']": "not a header's name",
		"methods: [post]":              "write it in capitals",
	} {
		config, err := proxy.Parse([]byte(good + "    " + setting + "\n"))
		require.NoError(t, err)
		err = config.Describe(new(strings.Builder))
		require.ErrorAs(t, err, new(proxy.Problems))
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, "route 1 (/): ")
	}
}

func TestTheEnvironmentAndFilesFillInWhatIsSecret(t *testing.T) {
	t.Setenv("ONLYONCE_TEST_HOST", "payments:8080")
	file := filepath.Join(t.TempDir(), "url")
	require.NoError(t, os.WriteFile(file, []byte("postgres://u:p@h/d\n"), 0o600))
	config, err := proxy.Parse([]byte("store: {url_file: " + file + "}\nroutes:\n  - {patterns: [/], upstream: 'http://${ONLYONCE_TEST_HOST}/x', protect: off}\n"))
	require.NoError(t, err)
	require.EqualValues(t, "postgres://u:p@h/d", config.Store.URL)
	var text strings.Builder
	require.NoError(t, config.Describe(&text))
	require.Contains(t, text.String(), "http://payments:8080/x")
}
