package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// errWrong says that the demo has seen what docs/gateway.md does not say.
var errWrong = errors.New("this is not what docs/gateway.md says")

// scene is one request and its retries.
type scene struct {
	says    string
	service string
	fate    string // of the first request; those after it are answered
	do      func(ctx context.Context, s *stage, c scene, reference string) error
	paid    int // how often it was, in the end
}

// crowded is how many ask at once.
const crowded = 40

var scenes = []scene{
	{"it answers; the answer is lost on its way, and the client asks again", "steady", "answer", retried, 1},
	{"it answers; 40 impatient duplicates arrive at both proxies at once", "steady", "answer", crowd, 1},
	{"it declines, and the client asks again", "steady", "decline", retried, 0},
	{"it fails before it has paid (500), and the client asks again", "moody", "fail", retried, 1},
	{"it fails after it has paid (500): the default takes a 5xx for \"not done\"", "moody", "fail-after", retried, 2},
	{"it pays and does not answer: unknown, and held until the lease ends", "rotten", "hang", retried, 2},
	{"it pays and cuts its answer short: likewise", "rotten", "cut", retried, 2},
	{"it pays and dies, and comes back: likewise", "rotten", "die", retried, 2},
	{"it pays slowly, and meanwhile the proxy is killed: likewise, by the other proxy", "rotten", "hang", proxyKilled, 2},
}

func (s *stage) play(ctx context.Context) error {
	fmt.Printf("two proxies: %s %s\n\n", s.proxies[0].url, s.proxies[1].url)
	wrong := 0
	for n, c := range scenes {
		fmt.Printf("%d. %s: %s\n", n+1, c.service, c.says)
		reference := fmt.Sprintf("order-%d", n+1)
		if err := c.do(ctx, s, c, reference); err != nil {
			return err
		}
		paid, err := s.paid(ctx, c.service, reference)
		if err != nil {
			return err
		}
		fmt.Printf("   paid: %d\n\n", paid)
		if paid != c.paid {
			wrong++
			fmt.Printf("   WRONG: docs/gateway.md says %d\n\n", c.paid)
		}
	}
	fmt.Println("What was paid twice is what no gateway can know. A handler that writes its response in its own transaction does: make demo.")
	if wrong > 0 {
		return fmt.Errorf("%w: %d scenes", errWrong, wrong)
	}
	return nil
}

// retried asks until there is an answer, and once more.
func retried(ctx context.Context, s *stage, c scene, reference string) error {
	if _, err := s.ask(ctx, 0, c.service, reference, c.fate); err != nil {
		return err
	}
	return s.insist(ctx, c.service, reference)
}

// insist asks by turns until there is an answer that is not about the key, and once more.
func (s *stage) insist(ctx context.Context, service, reference string) error {
	answers := 0
	for n := 1; answers < 2; n++ {
		status, err := s.ask(ctx, n, service, reference, "answer")
		if err != nil {
			return err
		}
		if status == http.StatusCreated || status == http.StatusPaymentRequired {
			answers++
			continue
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Second): // as Retry-After says
		}
	}
	return nil
}

// crowd asks many times at once.
func crowd(ctx context.Context, s *stage, c scene, reference string) error {
	var all sync.WaitGroup
	var mu sync.Mutex
	statuses, bodies := map[int]int{}, map[string]bool{}
	for n := range crowded {
		all.Go(func() {
			a := s.send(ctx, n, c.service, reference, c.fate)
			mu.Lock()
			defer mu.Unlock()
			statuses[a.status]++
			if a.status == http.StatusCreated {
				bodies[a.body] = true
			}
		})
	}
	all.Wait()
	fmt.Printf("   %d requests: %v (status: how many), %d different answer\n", crowded, statuses, len(bodies))
	return s.insist(ctx, c.service, reference)
}

// proxyKilled kills the proxy that has passed the request on.
func proxyKilled(ctx context.Context, s *stage, c scene, reference string) error {
	go s.send(ctx, 0, c.service, reference, c.fate)
	for paid := 0; paid == 0; {
		var err error
		if paid, err = s.paid(ctx, c.service, reference); err != nil {
			return err
		}
	}
	s.proxies[0].kill()
	fmt.Println("   SIGKILL to the proxy; the client's connection breaks")
	s.proxies = s.proxies[1:]
	return s.insist(ctx, c.service, reference)
}

// answer is what came back.
type answer struct {
	status int
	body   string
	note   string
}

// ask sends a request through the n-th proxy, and prints what came back.
func (s *stage) ask(ctx context.Context, n int, service, reference, fate string) (status int, err error) {
	a := s.send(ctx, n, service, reference, fate)
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	fmt.Printf("   POST /%s/payments, key %s  →  %d %s %s\n", service, reference, a.status, a.note, shown(a.body))
	return a.status, nil
}

func shown(body string) string {
	body = strings.TrimSpace(body)
	if strings.HasPrefix(body, "{\"type\"") {
		return ""
	}
	return body
}

// client sends each request once, on a connection of its own: Go's repeats one with a key by itself where a connection breaks.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}

func (s *stage) send(ctx context.Context, n int, service, reference, fate string) answer {
	body := fmt.Sprintf(`{"reference":%q,"amount":100}`, reference)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.proxies[n%len(s.proxies)].url+"/"+service+"/payments", strings.NewReader(body))
	if err != nil {
		return answer{note: err.Error()}
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Idempotency-Key", reference)
	request.Header.Set("X-Account", "demo") // by whoever authenticates
	request.Header.Set("Fate", fate)
	response, err := client.Do(request)
	if err != nil {
		return answer{note: "no answer"}
	}
	defer response.Body.Close()
	content, _ := io.ReadAll(response.Body)
	a := answer{status: response.StatusCode, body: string(content)}
	var problem struct{ Code string }
	if strings.HasPrefix(response.Header.Get("Content-Type"), "application/problem+json") && json.Unmarshal(content, &problem) == nil {
		a.note = problem.Code
	}
	if after := response.Header.Get("Retry-After"); after != "" {
		a.note += ", retry after " + after + " s"
	}
	if response.Header.Get("Idempotent-Replayed") == "true" {
		a.note = "replayed"
	}
	return a
}

// paid asks a service itself how often it was paid for a reference.
func (s *stage) paid(ctx context.Context, service, reference string) (count int, err error) {
	for {
		s.mu.Lock()
		url := s.upstreams[service].url
		s.mu.Unlock()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/payments", nil)
		if err != nil {
			return 0, err
		}
		response, err := client.Do(request)
		if err != nil { // it has just died, and comes back
			select {
			case <-ctx.Done():
				return 0, context.Cause(ctx)
			case <-time.After(50 * time.Millisecond):
				continue
			}
		}
		var payments []struct{ Reference string }
		err = json.NewDecoder(response.Body).Decode(&payments)
		_ = response.Body.Close()
		if err != nil {
			return 0, err
		}
		for _, payment := range payments {
			if payment.Reference == reference {
				count++
			}
		}
		return count, nil
	}
}

// curl prints how to ask by hand.
func (s *stage) curl() {
	for _, p := range s.proxies {
		fmt.Printf(`
curl -i %s/rotten/payments -H 'X-Account: demo' -H 'Idempotency-Key: order-1' -H 'Fate: hang' \
     -H 'Content-Type: application/json' -d '{"reference":"order-1","amount":100}'
`, p.url)
	}
	for _, temper := range tempers {
		fmt.Printf("curl %s/payments   # what the %s service was paid\n", s.upstreams[temper].url, temper)
	}
}
