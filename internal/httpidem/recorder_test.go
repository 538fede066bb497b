package httpidem_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/httpidem"
)

func TestNothingIsSentBeforeSend(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	recorder := httpidem.NewRecorder(w, 100)
	recorder.Header().Set("Location", "/a")
	recorder.Header().Set("Content-Length", "4711")
	recorder.WriteHeader(http.StatusCreated)
	_, err := io.WriteString(recorder, "cre")
	require.NoError(t, err)
	_, err = recorder.Write([]byte("ated"))
	require.NoError(t, err)
	controller := http.NewResponseController(recorder)
	require.ErrorIs(t, controller.Flush(), httpidem.ErrBuffered)
	_, _, err = controller.Hijack()
	require.ErrorIs(t, err, httpidem.ErrBuffered)
	require.NoError(t, controller.EnableFullDuplex())
	_, flusher := any(recorder).(http.Flusher)
	require.False(t, flusher)
	response, err := recorder.Response([]string{"Location"})
	require.NoError(t, err)
	require.Zero(t, w.Body.Len())
	require.False(t, w.Flushed)

	recorder.Send()
	require.Equal(t, http.StatusCreated, w.Code)
	require.Equal(t, "created", w.Body.String())
	require.Equal(t, "/a", w.Result().Header.Get("Location"))
	require.Empty(t, w.Result().Header.Get("Content-Length"), "the handler's count was wrong")
	require.Equal(t, idempotency.Response{Status: 201, Header: []byte("Location: /a\r\n"), Body: []byte("created")}, response)
}

func TestTheHeaderIsTakenWithTheStatus(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]func(w http.ResponseWriter){
		"WriteHeader": func(w http.ResponseWriter) { w.WriteHeader(http.StatusOK) },
		"Write":       func(w http.ResponseWriter) { _, _ = w.Write(nil) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := httptest.NewRecorder()
			recorder := httpidem.NewRecorder(w, 100)
			recorder.Header().Set("Location", "/early")
			recorder.Header().Add("Link", "early")
			write(recorder)
			recorder.WriteHeader(http.StatusTeapot)
			recorder.Header().Set("Location", "/late")
			recorder.Header().Add("Link", "late")
			recorder.Header().Set("X-Late", "1")
			response, err := recorder.Response([]string{"Link", "Location", "X-Late"})
			require.NoError(t, err)
			require.Equal(t, "Link: early\r\nLocation: /early\r\n", string(response.Header))
			require.Equal(t, http.StatusOK, response.Status)
			recorder.Send()
			require.Equal(t, http.Header{"Link": {"early"}, "Location": {"/early"}}, w.Result().Header)
		})
	}
}

func TestStatusesAreTakenAsNetHTTPTakesThem(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		written []int
		want    int
	}{
		{"none", nil, 200},
		{"the first counts", []int{201, 500}, 201},
		{"informational ones are dropped", []int{100, 103, 102, 202}, 202},
		{"informational ones alone", []int{103}, 200},
		{"switching protocols is an answer", []int{101, 200}, 101},
		{"the largest", []int{999}, 999},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			recorder := httpidem.NewRecorder(httptest.NewRecorder(), 1)
			for _, status := range c.written {
				recorder.WriteHeader(status)
			}
			response, err := recorder.Response(nil)
			require.NoError(t, err)
			require.Equal(t, c.want, response.Status)
		})
	}
	for _, status := range []int{-1, 0, 99, 1000} {
		require.Panics(t, func() { httpidem.NewRecorder(httptest.NewRecorder(), 1).WriteHeader(status) }, status)
	}
}

func TestAStatusWithoutABodyTakesNone(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusNoContent, http.StatusNotModified, http.StatusSwitchingProtocols} {
		recorder := httpidem.NewRecorder(httptest.NewRecorder(), 100)
		recorder.WriteHeader(status)
		n, err := recorder.WriteString("body")
		require.Zero(t, n)
		require.ErrorIs(t, err, http.ErrBodyNotAllowed)
		response, err := recorder.Response(nil)
		require.NoError(t, err)
		require.Empty(t, response.Body)
	}
}

func TestABodyOverTheLimitIsAnErrorForGood(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		writes []string
		fits   bool
	}{
		{"at the limit", []string{"12345678"}, true},
		{"at the limit in pieces", []string{"1234", "", "5678", ""}, true},
		{"over it", []string{"123456789"}, false},
		{"over it in pieces", []string{"1234", "56789"}, false},
		{"a small piece after one that was too large", []string{"123456789", "1"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			recorder := httpidem.NewRecorder(httptest.NewRecorder(), 8)
			var last error
			for _, text := range c.writes {
				_, last = recorder.WriteString(text)
			}
			response, err := recorder.Response(nil)
			if c.fits {
				require.NoError(t, last)
				require.NoError(t, err)
				require.Equal(t, strings.Join(c.writes, ""), string(response.Body))
				return
			}
			require.ErrorIs(t, last, idempotency.ErrResponseTooLarge)
			require.ErrorIs(t, err, idempotency.ErrResponseTooLarge)
			require.Empty(t, response.Body)

			recorder.Reset()
			_, err = recorder.Response(nil)
			require.NoError(t, err, "the next run begins anew")
		})
	}
}

func TestResetGivesBackWhatWasThereBefore(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	w.Header().Set("X-Request-Id", "7")
	w.Header().Add("Vary", "Origin")
	before := w.Header().Clone()
	recorder := httpidem.NewRecorder(w, 100)
	for range 2 {
		require.Equal(t, before, recorder.Header(), "a handler finds what outer middleware set")
		recorder.Header().Del("X-Request-Id")
		recorder.Header().Add("Vary", "Accept")
		recorder.Header()["Vary"][0] = "changed in place"
		recorder.Header().Set("Location", "/a")
		require.Equal(t, before, w.Header(), "the handler has not answered yet")
		recorder.WriteHeader(http.StatusCreated)
		_, err := recorder.WriteString("created")
		require.NoError(t, err)
		recorder.Reset()
		require.Equal(t, before, w.Header())
	}
	response, err := recorder.Response([]string{"Location", "Vary"})
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, response.Status)
	require.Empty(t, response.Header)
	require.Empty(t, response.Body)
	recorder.Send()
	require.Equal(t, before, w.Result().Header)
}

func TestWhatAHandlerDoesToItsHeaderAfterwardsIsNotSent(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	recorder := httpidem.NewRecorder(w, 100)
	mine := []string{"a\x00b"}
	recorder.Header()["Link"] = mine
	_, err := recorder.Response([]string{"Link"})
	require.NoError(t, err)
	recorder.Send()
	require.Equal(t, []string{"a b"}, w.Result().Header["Link"], "the first answer differs from its replays")
	require.Equal(t, []string{"a\x00b"}, mine, "the handler's own values were changed")
}
