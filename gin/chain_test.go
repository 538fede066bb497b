package idempotencygin_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

func TestOuterMiddlewareSeesWhatIsReallySent(t *testing.T) {
	t.Parallel()
	type view struct {
		status, size     int
		written, aborted bool
	}
	var got view
	outer := func(c *gin.Context) {
		request, writer := c.Request, c.Writer
		c.Header("X-Outer", "set")
		c.Next()
		require.Same(t, request, c.Request)
		require.Same(t, writer, c.Writer)
		got = view{writer.Status(), writer.Size(), writer.Written(), c.IsAborted()}
	}
	var logged bytes.Buffer
	logger := gin.LoggerWithConfig(gin.LoggerConfig{Output: &logged, Formatter: func(p gin.LogFormatterParams) string {
		return fmt.Sprintf("%d %d %s;", p.StatusCode, p.BodySize, p.ErrorMessage)
	}})
	body := "half"
	s := newShop(t, func(c *gin.Context) {
		require.False(t, c.Writer.Written())
		require.Equal(t, -1, c.Writer.Size())
		c.Status(http.StatusEarlyHints)
		require.Equal(t, http.StatusOK, c.Writer.Status(), "hints are dropped")
		c.Status(http.StatusAccepted)
		require.False(t, c.Writer.Written(), "gin holds the status back")
		if body == "" {
			return
		}
		c.String(http.StatusAccepted, body)
		_, err := c.Writer.WriteString("+half")
		require.NoError(t, err)
		require.Equal(t, 9, c.Writer.Size())
		require.True(t, c.Writer.Written())
		require.Equal(t, http.StatusAccepted, c.Writer.Status())
	}, around{outer: []gin.HandlerFunc{logger, outer}})

	for _, aborted := range []bool{false, true} {
		answer := s.order("k")
		require.Equal(t, "half+half", answer.Body.String())
		require.Equal(t, "set", answer.Header().Get("X-Outer"))
		require.Equal(t, view{http.StatusAccepted, 9, true, aborted}, got)
	}
	body = ""
	for _, aborted := range []bool{false, true} {
		s.order("k2")
		require.Equal(t, view{http.StatusAccepted, 0, true, aborted}, got, "a response without a body is sent, too")
	}
	problem := s.order("")
	require.Equal(t, http.StatusBadRequest, problem.Code)
	require.Equal(t, view{http.StatusBadRequest, problem.Body.Len(), true, true}, got)
	require.Equal(t, fmt.Sprintf("202 9 ;202 9 ;202 0 ;202 0 ;400 %d ;", problem.Body.Len()), logged.String())
	require.Equal(t, 2, s.runs)
}

// shouting is a writer that middleware has put around gin's.
type shouting struct{ gin.ResponseWriter }

func (s shouting) Write(b []byte) (int, error) { return s.ResponseWriter.Write(bytes.ToUpper(b)) }

func TestWritersOfMiddlewareAreKeptOutsideAndInside(t *testing.T) {
	t.Parallel()
	shout := func(c *gin.Context) { c.Writer = shouting{c.Writer}; c.Next() }
	for name, around := range map[string]around{"outside": {outer: []gin.HandlerFunc{shout}}, "inside": {inner: []gin.HandlerFunc{shout}}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, func(c *gin.Context) { c.String(http.StatusCreated, "made") }, around)
			require.Equal(t, "MADE", s.order("k").Body.String())
			require.Equal(t, "MADE", s.order("k").Body.String())
			require.Equal(t, 1, s.runs)
		})
	}
}

func TestTheHandlersBehindRunInTheirOrderAndOnceWithAllThatGinGivesThem(t *testing.T) {
	t.Parallel()
	var trace []string
	s := newShop(t, func(c *gin.Context) {
		var in struct{ Amount int }
		require.NoError(t, c.ShouldBindJSON(&in))
		require.Equal(t, 1, in.Amount)
		require.Equal(t, "7", c.Param("id"))
		require.Equal(t, "/orders/:id", c.FullPath())
		require.Equal(t, "alice", c.MustGet("account"))
		require.Equal(t, "192.0.2.1", c.ClientIP())
		trace = append(trace, "handler")
		c.Set("seen", "by the outer one")
		c.JSON(http.StatusCreated, in)
	}, around{
		outer: []gin.HandlerFunc{func(c *gin.Context) {
			c.Set("account", "alice")
			c.Next()
			trace = append(trace, "outer:"+c.GetString("seen"))
		}},
		inner: []gin.HandlerFunc{
			func(c *gin.Context) { trace = append(trace, "in"); c.Next(); trace = append(trace, "out") },
			func(*gin.Context) { trace = append(trace, "between") },
		},
	})
	require.Equal(t, http.StatusCreated, s.order("k").Code)
	require.Equal(t, []string{"in", "between", "handler", "out", "outer:by the outer one"}, trace)
	trace = nil
	require.Equal(t, "true", s.order("k").Header().Get("Idempotent-Replayed"))
	require.Equal(t, []string{"outer:"}, trace, "nobody behind runs for a replay")
}

func TestAnAbortInsideEndsTheChain(t *testing.T) {
	t.Parallel()
	aborted := false
	s := newShop(t, func(*gin.Context) { t.Error("the chain went on") }, around{
		outer: []gin.HandlerFunc{func(c *gin.Context) { c.Next(); aborted = c.IsAborted() }},
		inner: []gin.HandlerFunc{func(c *gin.Context) { c.AbortWithStatus(http.StatusForbidden) }},
	})
	require.Equal(t, http.StatusForbidden, s.order("k").Code)
	require.True(t, aborted)
	require.Equal(t, "true", s.order("k").Header().Get("Idempotent-Replayed"))
}

func quiet(around *around, outside bool) {
	recovery := gin.RecoveryWithWriter(nil)
	if outside {
		around.outer = append(around.outer, recovery)
	} else {
		around.inner = append(around.inner, recovery)
	}
}

func TestRecoveryOutsideAndInsideAnswersAndFreesTheKey(t *testing.T) {
	t.Parallel()
	reset := &net.OpError{Op: "write", Err: os.NewSyscallError("write", syscall.EPIPE)} // which gin takes for the client's, and answers nothing
	for _, outside := range []bool{true, false} {
		for _, begun := range []bool{true, false} {
			for name, with := range map[string]any{"a word": "boom", "an error": errMine, "a broken pipe": reset} {
				t.Run(fmt.Sprint("outside ", outside, ", begun ", begun, ", ", name), func(t *testing.T) {
					t.Parallel()
					broken := true
					handler := func(c *gin.Context) {
						if !broken || begun {
							c.Header("Location", "/orders/7")
							c.String(http.StatusCreated, "made")
						}
						if broken {
							panic(with)
						}
					}
					var around around
					quiet(&around, outside)
					s := newShop(t, handler, around)
					answer := s.order("k")
					require.NotContains(t, s.events, idempotency.Completed)
					require.Equal(t, []idempotency.EventKind{idempotency.Claimed, idempotency.Released}, s.events)
					require.Empty(t, answer.Body.String())
					require.Empty(t, answer.Header().Get("Location"))
					require.Equal(t, http.StatusInternalServerError, answer.Code)
					broken = false
					require.Equal(t, "made", s.order("k").Body.String())
					require.Equal(t, "true", s.order("k").Header().Get("Idempotent-Replayed"))
					require.Equal(t, 2, s.runs)
				})
			}
		}
	}
}

// gin goes on with the chain where somebody recovers and does not abort it.
func TestNothingBehindRunsUnprotectedAfterAPanic(t *testing.T) {
	t.Parallel()
	s := newShop(t, func(*gin.Context) { t.Error("the chain went on, without protection") }, around{
		outer: []gin.HandlerFunc{func(c *gin.Context) {
			request, writer := c.Request, c.Writer
			defer func() {
				require.Equal(t, "boom", recover())
				require.Same(t, request, c.Request)
				require.Same(t, writer, c.Writer)
				c.Status(http.StatusTeapot)
			}()
			c.Next()
		}},
		inner: []gin.HandlerFunc{func(*gin.Context) { panic("boom") }},
	})
	require.Equal(t, http.StatusTeapot, s.order("k").Code)
	require.Equal(t, []idempotency.EventKind{idempotency.Claimed, idempotency.Released}, s.events)
}

func TestACopyOutlivesItsHandlerButNotItsAttempt(t *testing.T) {
	t.Parallel()
	var late *gin.Context
	s := newShop(t, func(c *gin.Context) {
		c.Set("account", "alice")
		late = c.Copy()
		c.String(http.StatusCreated, "made")
	}, around{})
	require.Equal(t, "made", s.order("k").Body.String())
	require.Equal(t, "true", s.order("k").Header().Get("Idempotent-Replayed"))
	require.Equal(t, "alice", late.MustGet("account"))
	require.Equal(t, "7", late.Param("id"))
	require.ErrorIs(t, late.Request.Context().Err(), context.Canceled, "the handler's context ends with it")
}

func TestAGoroutineThatWritesLateWritesNothing(t *testing.T) {
	t.Parallel()
	var late gin.ResponseWriter
	s := newShop(t, func(c *gin.Context) {
		late = c.Writer
		c.String(http.StatusCreated, "made")
	}, around{})
	first := s.order("k")
	late.WriteHeader(http.StatusInternalServerError) // would take the answer back
	_, err := late.WriteString("late")
	require.Error(t, err)
	require.Equal(t, "made", first.Body.String())
	require.Equal(t, "made", s.order("k").Body.String())
}

func TestNothingIsSentByFlushHijackPushOrStream(t *testing.T) {
	t.Parallel()
	var sent *httptest.ResponseRecorder
	s := newShop(t, func(c *gin.Context) {
		require.Nil(t, c.Writer.Pusher())
		select {
		case <-c.Writer.CloseNotify():
			t.Error("the client is gone")
		default:
		}
		_, _, err := c.Writer.Hijack()
		require.ErrorContains(t, err, "cannot be flushed or hijacked")
		require.ErrorContains(t, http.NewResponseController(c.Writer).Flush(), "cannot be flushed or hijacked")
		c.Status(http.StatusCreated)
		c.Writer.Flush()
		require.True(t, c.Writer.Written())
		for i := range 3 {
			c.SSEvent("step", i)
			c.Writer.Flush()
		}
		require.False(t, sent.Flushed)
		require.Zero(t, sent.Body.Len())
	}, around{})
	sent = httptest.NewRecorder()
	s.ServeHTTP(sent, order("k"))
	require.Equal(t, http.StatusCreated, sent.Code)
	require.Contains(t, sent.Body.String(), "data:2")
	require.False(t, sent.Flushed)
}

func TestAStreamIsKeptWholeWhenItsClientIsGone(t *testing.T) {
	t.Parallel()
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	steps := 0
	s := newShop(t, func(c *gin.Context) {
		c.Status(http.StatusCreated)
		gone := c.Stream(func(w io.Writer) bool {
			leave()
			steps++
			_, err := fmt.Fprint(w, steps)
			require.NoError(t, err)
			return steps < 3
		})
		require.False(t, gone)
	}, around{})
	first := s.send(order("k").WithContext(ctx))
	require.Equal(t, "123", first.Body.String())
	require.Equal(t, "123", s.order("k").Body.String())
	require.Equal(t, 1, s.runs)
}

// conflicted is a store whose first transactions end for a reason that another run can cure.
type conflicted struct {
	idempotency.Store
	times *int
}

func (s conflicted) Claim(ctx context.Context, key idempotency.Key) (idempotency.Attempt, *idempotency.Record, error) {
	attempt, record, err := s.Store.Claim(ctx, key)
	if attempt == nil || *s.times == 0 {
		return attempt, record, err
	}
	*s.times--
	return conflict{attempt}, nil, nil
}

type conflict struct{ idempotency.Attempt }

func (a conflict) Complete(ctx context.Context, _ *idempotency.Record, _ time.Duration) (idempotency.Settled, error) {
	_ = a.Release(ctx)
	return idempotency.Settled{}, idempotency.ErrTransactionConflict
}

func TestAChainThatRunsAgainBeginsAnew(t *testing.T) {
	t.Parallel()
	var s *shop
	var trace []string
	times := 2
	s = newShop(t, func(c *gin.Context) {
		require.Equal(t, "alice", c.MustGet("account"))
		require.Empty(t, c.GetString("run"), "of the run before")
		c.Set("run", fmt.Sprint(s.runs))
		var in struct{ Amount int }
		require.NoError(t, c.ShouldBindJSON(&in))
		attach(c, fmt.Errorf("run %d", s.runs))
		c.Header("X-Run", fmt.Sprint(s.runs))
		c.String(http.StatusCreated, "run %d of %s", s.runs, c.Param("id"))
		if s.runs == 3 {
			c.Abort()
			c.Errors = nil
		}
	}, around{
		config: idempotency.Config{Reruns: 2},
		store:  func(memory idempotency.Store) idempotency.Store { return conflicted{memory, &times} },
		outer: []gin.HandlerFunc{func(c *gin.Context) {
			c.Set("account", "alice")
			c.Next()
			trace = append(trace, fmt.Sprint("outer ", c.GetString("run"), c.Errors, c.IsAborted()))
		}},
		inner: []gin.HandlerFunc{func(c *gin.Context) {
			trace = append(trace, "in")
			c.Next()
			trace = append(trace, "out")
		}},
	})
	answer := s.order("k")
	require.Equal(t, "run 3 of 7", answer.Body.String())
	require.Equal(t, []string{"3"}, answer.Header().Values("X-Run"))
	require.Equal(t, 3, s.runs)
	require.Equal(t, []string{"in", "out", "in", "out", "in", "out", "outer 3 true"}, trace)
	require.Equal(t, "run 3 of 7", s.order("k").Body.String())
	require.Equal(t, 3, s.runs)
}

func TestAnotherRunsErrorsAreThoseOfTheLast(t *testing.T) {
	t.Parallel()
	var s *shop
	var errs []string
	times := 1
	s = newShop(t, func(c *gin.Context) {
		attach(c, fmt.Errorf("run %d", s.runs))
		c.String(http.StatusCreated, "made")
	}, around{
		config: idempotency.Config{Reruns: 1},
		store:  func(memory idempotency.Store) idempotency.Store { return conflicted{memory, &times} },
		outer:  []gin.HandlerFunc{func(c *gin.Context) { attach(c, errMine); c.Next(); errs = c.Errors.Errors() }},
	})
	require.Equal(t, http.StatusCreated, s.order("k").Code)
	require.Equal(t, []string{"mine", "run 2"}, errs)
}
