package trial

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/onlyonce/onlyonce/bench/payment"
)

func TestAClientTellsWhatItWaitedFor(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		switch asked.Add(1) {
		case 1:
			panic(http.ErrAbortHandler) // the connection ends, as a killed server's does
		case 2, 3:
			w.WriteHeader(http.StatusConflict)
		case 4:
			w.WriteHeader(http.StatusInternalServerError)
		default:
			w.WriteHeader(payment.Status)
			_, _ = w.Write(payment.Body(4711))
		}
	}))
	t.Cleanup(server.Close)
	crowd := newCrowd(t.Context(), server.URL, time.Minute)
	crowd.persist("key", time.Now(), failures{})
	seen := crowd.clients["key"]
	assert.Equal(t, string(payment.Body(4711)), seen.body)
	assert.Equal(t, failures{broken: 1, busy: 2, refused: 1}, seen.failed)
	assert.Equal(t, "1 broken, 2 busy, 1 refused", seen.failed.says())
	assert.Positive(t, seen.waited)
}
