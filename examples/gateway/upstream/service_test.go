package upstream_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onlyonce/onlyonce/examples/gateway/upstream"
)

// begin serves a service on a new ledger. died is closed when it dies.
func begin(t *testing.T, turns ...upstream.Fate) (url string, ledger *upstream.Ledger, died chan struct{}) {
	t.Helper()
	ledger, err := upstream.OpenLedger(filepath.Join(t.TempDir(), "ledger"))
	if err != nil {
		t.Fatal(err)
	}
	died = make(chan struct{})
	service, err := upstream.New(ledger, turns, func() { close(died); panic(http.ErrAbortHandler) })
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(service.Handler())
	t.Cleanup(func() { server.Close(); _ = ledger.Close() })
	return server.URL + "/payments", ledger, died
}

func post(t *testing.T, url string, fate upstream.Fate) (status int, whole bool) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(`{"reference":"order-1","amount":100}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set(upstream.Header, string(fate))
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		return 0, false
	}
	defer response.Body.Close()
	_, err = io.ReadAll(response.Body)
	return response.StatusCode, err == nil
}

func TestEachFateHasPaidOrNot(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		fate   upstream.Fate
		status int
		whole  bool
		paid   int
	}{
		{upstream.Answer, 201, true, 1},
		{upstream.Decline, 402, true, 0},
		{upstream.Fail, 500, true, 0},
		{upstream.FailAfter, 500, true, 1},
		{upstream.Cut, 201, false, 1},
		{upstream.Die, 0, false, 1},
	} {
		t.Run(string(c.fate), func(t *testing.T) {
			t.Parallel()
			url, ledger, died := begin(t, upstream.Answer)
			if status, whole := post(t, url, c.fate); status != c.status || whole != c.whole {
				t.Fatalf("answer %d, whole %v; want %d, %v", status, whole, c.status, c.whole)
			}
			if payments, err := ledger.Payments(); err != nil || len(payments) != c.paid {
				t.Fatalf("%d payments, %v; want %d", len(payments), err, c.paid)
			}
			select {
			case <-died:
				if c.fate != upstream.Die {
					t.Fatal("it died")
				}
			default:
				if c.fate == upstream.Die {
					t.Fatal("it lives")
				}
			}
		})
	}
}

func TestATemperIsWhatItDoesInTurn(t *testing.T) {
	t.Parallel()
	url, ledger, _ := begin(t, upstream.Tempers["moody"]...)
	for _, want := range []int{500, 201, 500, 201} {
		if status, _ := post(t, url, ""); status != want {
			t.Fatalf("status %d, want %d", status, want)
		}
	}
	if payments, err := ledger.Payments(); err != nil || len(payments) != 2 {
		t.Fatalf("%d payments, %v; want 2: it knows nothing of idempotency", len(payments), err)
	}
}

func TestALedgerOutlivesItsProcess(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "ledger")
	for _, want := range []string{"pay_1", "pay_2"} {
		ledger, err := upstream.OpenLedger(name)
		if err != nil {
			t.Fatal(err)
		}
		if payment, err := ledger.Pay("order-1", 100); err != nil || payment.ID != want {
			t.Fatalf("payment %q, %v; want %s", payment.ID, err, want)
		}
		_ = ledger.Close() // as far as the file goes: what is not on disk before Pay returns is not there after a crash either
	}
}
