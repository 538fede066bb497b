package httpidem_test

import (
	"bytes"
	"context"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/httpidem"
	"github.com/onlyonce/onlyonce/memstore"
)

func serve(t *testing.T, options httpidem.Options, observer idempotency.Observer, call httpidem.Call) *httptest.ResponseRecorder {
	store, err := memstore.New(memstore.Config{})
	require.NoError(t, err)
	engine, err := idempotency.New(store, idempotency.Config{Observer: observer})
	require.NoError(t, err)
	rules, err := httpidem.NewRules(engine, options)
	require.NoError(t, err)
	w := httptest.NewRecorder()
	call.Writer = w
	require.NoError(t, rules.Serve(call))
	return w
}

func TestWhatIsWrittenAfterTheResponseWasTakenIsNotSent(t *testing.T) {
	t.Parallel()
	var kept *httpidem.Recorder
	observer := func(_ context.Context, e idempotency.Event) {
		if e.Kind == idempotency.Completed {
			_, err := kept.Write([]byte(" twice"))
			require.Error(t, err)
		}
	}
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	r.Header.Set("Idempotency-Key", "k")
	w := serve(t, httpidem.Options{}, observer, httpidem.Call{Request: r, Scope: "alice", Next: func(recorder *httpidem.Recorder, _ *http.Request) error {
		kept = recorder
		_, err := recorder.WriteString("paid")
		return err
	}})
	require.Equal(t, "paid", w.Body.String())
}

func TestFilesOfAFormAreClearedAway(t *testing.T) {
	t.Parallel()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("file", "invoice.pdf")
	require.NoError(t, err)
	_, err = part.Write(bytes.Repeat([]byte("x"), 1000))
	require.NoError(t, err)
	require.NoError(t, form.Close())
	r := httptest.NewRequest(http.MethodPost, "/", &body)
	r.Header.Set("Idempotency-Key", "k")
	r.Header.Set("Content-Type", form.FormDataContentType())
	var name string
	serve(t, httpidem.Options{}, nil, httpidem.Call{Request: r, Scope: "alice", Next: func(_ *httpidem.Recorder, r *http.Request) error {
		require.NoError(t, r.ParseMultipartForm(0)) // nothing of a file in memory
		file, err := r.MultipartForm.File["file"][0].Open()
		require.NoError(t, err)
		name = file.(*os.File).Name()
		require.FileExists(t, name)
		return file.Close()
	}})
	require.NotEmpty(t, name)
	require.NoFileExists(t, name)
}

func TestACallerWithoutAScopeIsRefusedWithAndWithoutAKey(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"", "k"} {
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		if key != "" {
			r.Header.Set("Idempotency-Key", key)
		}
		w := serve(t, httpidem.Options{Optional: true}, nil, httpidem.Call{Request: r, Next: func(*httpidem.Recorder, *http.Request) error {
			t.Error("the handler ran")
			return nil
		}})
		require.Equal(t, http.StatusForbidden, w.Code)
	}
}
