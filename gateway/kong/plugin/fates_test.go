package plugin_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/gateway/kong/internal/kongtest"
	"github.com/onlyonce/onlyonce/gateway/kong/plugin"
	"github.com/onlyonce/onlyonce/idempotency"
)

func TestWhatBecomesOfAKeyIsWhatBecameOfItsRequest(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		fate    kongtest.Fate
		status  int
		unknown string
		want    string // state of the key
		retry   string // what a retry gets at once
	}{
		{"done", kongtest.Answers, 201, "", completed, "replay"},
		{"done, and sent elsewhere", kongtest.Answers, 303, "", completed, "replay"},
		{"nothing to say", kongtest.Answers, 204, "", completed, "replay"},
		{"refused by the service", kongtest.Answers, 422, "", completed, "replay"},
		{"conflict", kongtest.Answers, 409, "", free, "service"},
		{"rate limited", kongtest.Answers, 429, "release", free, "service"},
		{"failed", kongtest.Answers, 500, "", free, "service"},
		{"failed while being deployed", kongtest.Answers, 503, "hold", free, "service"},
		{"the client hung up, and it was done", kongtest.Vanishes, 201, "release", completed, "replay"},
		{"the client hung up, and it failed", kongtest.Vanishes, 500, "hold", free, "service"},
		{"refused, timed out or cut, held", kongtest.Refuses, 201, "", pending, "in-progress"},
		{"refused, timed out or cut, held by name", kongtest.Refuses, 201, "hold", pending, "in-progress"},
		{"refused, timed out or cut, released", kongtest.Refuses, 201, "release", free, "service"},
		{"cut in the body, held", kongtest.IsCut, 200, "", pending, "in-progress"},
		{"cut in the body, released", kongtest.IsCut, 200, "release", free, "service"},
		{"the worker was killed", kongtest.WorkerDies, 201, "", pending, "in-progress"},
		{"the worker was killed, released", kongtest.WorkerDies, 201, "release", pending, "in-progress"},
		{"answered without buffering", kongtest.Unbuffered, 201, "", pending, "in-progress"},
		{"answered without buffering, released", kongtest.Unbuffered, 201, "release", pending, "in-progress"},
		{"failed without buffering, released", kongtest.Unbuffered, 500, "release", pending, "in-progress"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := begin(t, &plugin.Config{Unknown: c.unknown, AllowHTTP2: true})
			w.answering(c.status)
			first := w.Do(t, payment(), c.fate)
			require.True(t, first.Passed)
			if c.fate == kongtest.Answers {
				require.Equal(t, c.status, first.Client.Status)
				assert.NotContains(t, first.Client.Header, "idempotent-replayed")
			}
			assert.Equal(t, c.want, w.state(k1))

			second := w.do(payment())
			switch c.retry {
			case "replay":
				wantReplay(t, second, &kongtest.Answer{Status: c.status, Body: fmt.Appendf(nil, "%d for request 1", c.status)})
				assert.Equal(t, completed, w.state(k1), "the replay's own Log has changed the key")
			case "service":
				assert.True(t, second.Passed)
			case "in-progress":
				wantProblem(t, second, 409, "in-progress")
				assert.Equal(t, []string{"1"}, second.Client.Header["retry-after"])
				assert.Equal(t, pending, w.state(k1), "the refusal's own Log has freed another request's key")
				w.leaseEnds()
				w.Service = func(request kongtest.Request) kongtest.Answer {
					assert.Equal(t, map[string]string{"Idempotency-Attempt": "2"}, request.ForService)
					return created(1)
				}
				third := w.do(payment())
				assert.True(t, third.Passed, "the key is stuck past its lease")
				assert.Contains(t, strings.Join(w.Logged(), "\n"), "notice: onlyonce: attempt 2 at a key")
			}
		})
	}
}

func TestWhoHasClaimedNothingAsksTheStoreForNothingInLog(t *testing.T) {
	t.Parallel()
	w := begin(t, &plugin.Config{Unknown: "release"})
	w.do(payment())
	wantReplay(t, w.do(payment()), &kongtest.Answer{Status: 201, Body: []byte(`{"id": 1}`)})
	other := payment()
	other.Body = []byte("other")
	wantProblem(t, w.do(other), 422, "key-reused")
	w.Do(t, withKey("k2"), kongtest.WorkerDies)
	wantProblem(t, w.do(withKey("k2")), 409, "in-progress")
	assert.Zero(t, w.store.frees.Load())
}

func TestNothingOfARequestIsInKongsLog(t *testing.T) {
	t.Parallel()
	for _, fate := range []kongtest.Fate{kongtest.Answers, kongtest.Refuses, kongtest.Unbuffered} {
		w := begin(t, &plugin.Config{AllowHTTP2: true, MaxResponse: 1})
		request := withKey("sesame-open")
		request.Body = []byte("sesame-body")
		w.Service = func(kongtest.Request) kongtest.Answer {
			return kongtest.Answer{Status: 200, Body: []byte("sesame-answer")}
		}
		got := w.Do(t, request, fate)
		w.store.down.Store(true)
		w.do(withKey("sesame-too"))
		require.NotEmpty(t, w.Logged())
		assert.NotContains(t, strings.Join(w.Logged(), "\n"), "sesame")
		for _, value := range got.Shared {
			assert.NotContains(t, value, "sesame")
		}
	}
}

func TestStatusesAreKeptAndReleasedAsConfigured(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]string{500: completed, 501: free, 404: free, 422: completed, 409: completed} {
		w := begin(t, &plugin.Config{KeepStatuses: []int{500, 409}, ReleaseStatuses: []int{404}})
		w.answering(status)
		w.do(payment())
		assert.Equal(t, want, w.state(k1), status)
	}
}

func TestAStatusByWhichTheServiceDoesNotKnowEitherIsNoAnswer(t *testing.T) {
	t.Parallel()
	for unknown, want := range map[string]string{"hold": pending, "release": free} {
		w := begin(t, &plugin.Config{UnknownStatuses: []int{504, 201}, Unknown: unknown})
		for i, status := range []int{504, 201} {
			w.answering(status)
			request := withKey(fmt.Sprint("k", i))
			assert.Equal(t, status, w.do(request).Client.Status)
			assert.Equal(t, want, w.state(idempotency.Key{Scope: "consumer:acme", Value: fmt.Sprint("k", i)}), status)
		}
		w.answering(503)
		w.do(payment())
	}
}

func TestTimeoutsThatAreLongerThanTheLeaseIsMadeForAreToldOnce(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		timeouts [3]int32
		retries  int32
		told     bool
	}{
		{[3]int32{60_000, 60_000, 60_000}, 5, true}, {[3]int32{2_000, 5_000, 23_000}, 0, false}, {[3]int32{2_000, 5_000, 23_001}, 0, true}, {[3]int32{1, 1, 15_000}, 1, true},
	} {
		w := begin(t, &plugin.Config{TimeoutMS: 30_000})
		w.Timeouts, w.Retries = c.timeouts, c.retries
		w.do(withKey("k1"))
		w.do(withKey("k2"))
		logged := strings.Join(w.Logged(), "\n")
		assert.Equal(t, c.told, strings.Contains(logged, "allow for"), "%v: %s", c.timeouts, logged)
		assert.LessOrEqual(t, strings.Count(logged, "allow for"), 1)
	}
}

func TestAReplayHasTheSameBytesAndTheHeadersThatMayBeRepeated(t *testing.T) {
	t.Parallel()
	w := begin(t, &plugin.Config{ReplayHeaders: []string{"x-receipt"}})
	latin1 := "attachment; filename=\"Qu\xe9bec.pdf\"" // no UTF-8, and a header all the same
	w.Service = func(kongtest.Request) kongtest.Answer {
		return kongtest.Answer{
			Status: 201, Body: []byte("\x00\xff{}\n"),
			Header: map[string][]string{
				"content-disposition": {latin1}, "link": {"<a>", "<b>"}, "x-receipt": {"r-1"}, "set-cookie": {"a=b"}, "x-other": {"1"}, "content-length": {"5"},
			},
		}
	}
	first := w.do(payment())
	second := w.do(payment())
	wantReplay(t, second, first.Client)
	assert.Equal(t, map[string][]string{
		"content-disposition": {latin1}, "link": {"<a>", "<b>"}, "x-receipt": {"r-1"}, "idempotent-replayed": {"true"},
	}, second.Client.Header)
}

func TestAResponseThatIsTooLargeIsNotAskedForTwice(t *testing.T) {
	t.Parallel()
	w := begin(t, &plugin.Config{MaxResponse: 10})
	w.Service = func(kongtest.Request) kongtest.Answer {
		return kongtest.Answer{Status: 201, Body: []byte("0123456789")}
	}
	w.do(payment())
	assert.Equal(t, 201, w.do(payment()).Client.Status, "a response of just the limit")

	w.Service = func(kongtest.Request) kongtest.Answer {
		return kongtest.Answer{Status: 201, Body: []byte("01234567890")}
	}
	first := w.do(withKey("k2"))
	assert.Equal(t, 201, first.Client.Status, "who asks first gets the answer")
	wantProblem(t, w.do(withKey("k2")), 500, "response-too-large")
}

func TestAnAnswerThatKongCannotTellHoldsTheKey(t *testing.T) {
	t.Parallel()
	for _, inFile := range []bool{false, true} {
		w := begin(t, &plugin.Config{Unknown: "release"})
		w.Service = func(kongtest.Request) kongtest.Answer { return kongtest.Answer{Status: 201, Body: kongtest.Untold} }
		request := payment()
		request.InFile = inFile
		w.do(request)
		assert.Equal(t, pending, w.state(k1), "the service has answered")
	}
}

func TestAServiceThatOutlivesTheLeaseIsAnsweredForByWhoTookOver(t *testing.T) {
	t.Parallel()
	t.Run("and was done first", func(t *testing.T) {
		t.Parallel()
		w := begin(t, &plugin.Config{})
		inner := false
		w.Service = func(kongtest.Request) kongtest.Answer {
			if inner {
				return created(2)
			}
			inner = true
			w.leaseEnds()
			require.True(t, w.do(payment()).Passed)
			return created(1)
		}
		slow := w.do(payment())
		assert.Equal(t, `{"id": 2}`, string(slow.Client.Body), "two answers to one key are about")
		assert.Equal(t, []string{"true"}, slow.Client.Header["idempotent-replayed"])
		assert.Contains(t, strings.Join(w.Logged(), "\n"), "err: the service took longer than the lease")
	})
	t.Run("and is at work", func(t *testing.T) {
		t.Parallel()
		w := begin(t, &plugin.Config{Unknown: "release"})
		inner := false
		w.Service = func(kongtest.Request) kongtest.Answer {
			if !inner {
				inner = true
				w.leaseEnds()
				require.True(t, w.Do(t, payment(), kongtest.WorkerDies).Passed)
			}
			return created(1)
		}
		slow := w.do(payment())
		assert.Equal(t, 409, slow.Client.Status)
		assert.Contains(t, string(slow.Client.Body), `"code":"lease-lost"`)
		assert.Equal(t, pending, w.state(k1), "the key of who took over was freed")
	})
}
