package idempotencygin_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
)

var errMine = errors.New("mine")

// attach is what gin's handlers do with an error that somebody else is to answer.
func attach(c *gin.Context, err error) { _ = c.Error(err) }

func TestTheResponseDecidesTheOutcome(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		handler gin.HandlerFunc
		status  int
		body    string
		outcome idempotency.EventKind
	}{
		{"an answer", func(c *gin.Context) { c.String(201, "made") }, 201, "made", idempotency.Completed},
		{"nothing at all", func(*gin.Context) {}, 200, "", idempotency.Completed},
		{"a status alone", func(c *gin.Context) { c.Status(202) }, 202, "", idempotency.Completed},
		{"a status that is set twice", func(c *gin.Context) { c.Status(500); c.Status(202) }, 202, "", idempotency.Completed},
		{"aborted without a word", func(c *gin.Context) { c.Abort() }, 200, "", idempotency.Completed},
		{"no body allowed", func(c *gin.Context) { c.JSON(204, "lost") }, 204, "", idempotency.Completed},
		{"a success with an error attached", func(c *gin.Context) { c.String(201, "made"); attach(c, errMine) }, 201, "made", idempotency.Completed},
		{"a refusal", func(c *gin.Context) { c.AbortWithStatus(402) }, 402, "", idempotency.Refused},
		{"a refusal with a body", func(c *gin.Context) { c.AbortWithStatusJSON(402, gin.H{"no": "funds"}) }, 402, `{"no":"funds"}`, idempotency.Refused},
		{"a refusal with its error", func(c *gin.Context) { _ = c.AbortWithError(402, errMine) }, 402, "", idempotency.Refused},
		{"a refusal that is not sent yet", func(c *gin.Context) { c.Status(402); attach(c, errMine) }, 402, "", idempotency.Refused},
		{"a conflict", func(c *gin.Context) { c.AbortWithStatus(409) }, 409, "", idempotency.Released},
		{"a failure", func(c *gin.Context) { c.String(500, "broken") }, 500, "broken", idempotency.Released},
		{"a failure with its error", func(c *gin.Context) { _ = c.AbortWithError(500, errMine) }, 500, "", idempotency.Released},
		{"an error that nobody answers", func(c *gin.Context) { attach(c, errMine) }, 500, "", idempotency.Released},
		{"an error with a status that promises success", func(c *gin.Context) { c.Status(201); attach(c, errMine) }, 500, "", idempotency.Released},
		{"an error of a kind that is kept elsewhere", func(c *gin.Context) { attach(c, &idempotency.Refusal{Reason: "no"}) }, 500, "", idempotency.Released},
		{"what cannot be rendered", func(c *gin.Context) { c.JSON(201, func() {}) }, 500, "", idempotency.Released},
		{"given up in the middle", func(c *gin.Context) { c.String(201, "made"); attach(c, errMine); c.Abort() }, 500, "", idempotency.Released},
		{"a failure after an answer", func(c *gin.Context) { c.String(201, "made"); c.AbortWithStatus(500) }, 500, "", idempotency.Released},
		{"a failure after a refusal", func(c *gin.Context) { c.String(402, "no"); c.AbortWithStatus(500) }, 500, "", idempotency.Released},
		{"a failure with its error after an answer", func(c *gin.Context) { c.String(201, "made"); _ = c.AbortWithError(503, errMine) }, 503, "", idempotency.Released},
		{"a refusal after an answer", func(c *gin.Context) { c.String(201, "made"); c.AbortWithStatusJSON(402, "no") }, 402, "", idempotency.Released},
		{"an error status after an answer that goes on", func(c *gin.Context) { c.String(201, "made"); c.Status(402) }, 201, "made", idempotency.Completed},
		{"a success after an answer", func(c *gin.Context) { c.String(201, "made"); c.String(200, "+more") }, 201, "made+more", idempotency.Completed},
		{"a success after a refusal", func(c *gin.Context) { c.String(402, "no"); c.String(200, "+more") }, 402, "no+more", idempotency.Refused},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, tt.handler, around{})
			first, second := s.order("k"), s.order("k")
			kept := tt.outcome != idempotency.Released
			for _, answer := range []*httptest.ResponseRecorder{first, second} {
				require.Equal(t, tt.status, answer.Code)
				require.Equal(t, tt.body, answer.Body.String())
			}
			require.Equal(t, kept, second.Header().Get("Idempotent-Replayed") == "true")
			require.Equal(t, map[bool]int{true: 1, false: 2}[kept], s.runs)
			require.Equal(t, tt.outcome, s.events[1])
		})
	}
}

func TestWhatIsTakenBackLeavesNoHeader(t *testing.T) {
	t.Parallel()
	s := newShop(t, func(c *gin.Context) {
		c.Header("Location", "/orders/7")
		c.JSON(http.StatusCreated, "made")
		c.AbortWithStatusJSON(http.StatusServiceUnavailable, "broken")
	}, around{})
	answer := s.order("k")
	require.Equal(t, http.StatusServiceUnavailable, answer.Code)
	require.Empty(t, answer.Body.String())
	require.Empty(t, answer.Header().Get("Content-Type"))
	require.Empty(t, answer.Header().Get("Location"))
}

// turns is middleware that answers errors which handlers have attached, as most services in gin have one.
func turns(c *gin.Context) {
	c.Next()
	if len(c.Errors) > 0 && !c.Writer.Written() {
		c.JSON(http.StatusPaymentRequired, gin.H{"error": c.Errors.Last().Error()})
	}
}

func TestAnErrorHandlerInsideRefusesAndOneOutsideAnswersWhatWasRolledBack(t *testing.T) {
	t.Parallel()
	handler := func(c *gin.Context) {
		c.Header("Location", "/orders/7")
		attach(c, errMine)
	}
	for _, tt := range []struct {
		name   string
		around around
		kept   bool
	}{
		{"inside", around{inner: []gin.HandlerFunc{turns}}, true},
		{"outside", around{outer: []gin.HandlerFunc{turns}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, handler, tt.around)
			for i := range 2 {
				answer := s.order("k")
				require.Equal(t, http.StatusPaymentRequired, answer.Code)
				require.JSONEq(t, `{"error":"mine"}`, answer.Body.String())
				require.Equal(t, tt.kept && i == 1, answer.Header().Get("Idempotent-Replayed") == "true")
				require.Equal(t, tt.kept, answer.Header().Get("Location") != "")
			}
			require.Equal(t, map[bool]int{true: 1, false: 2}[tt.kept], s.runs)
		})
	}
}

func TestAnErrorOfTheContractIsAnsweredAsAProblem(t *testing.T) {
	t.Parallel()
	s := newShop(t, func(c *gin.Context) { attach(c, idempotency.ErrLeaseLost) }, around{})
	answer := s.order("k")
	require.Equal(t, http.StatusConflict, answer.Code)
	require.Contains(t, answer.Body.String(), `"code":"lease-lost"`)

	large := newShop(t, func(c *gin.Context) { c.String(http.StatusCreated, "too much") }, around{config: idempotency.Config{MaxResponseBytes: 4}})
	answer = large.order("k")
	require.Equal(t, http.StatusInternalServerError, answer.Code)
	require.Contains(t, answer.Body.String(), `"code":"response-too-large"`)
}

func TestARequestWithoutARouteHasGinsAnswerAndKeepsNoKey(t *testing.T) {
	t.Parallel()
	s := newShop(t, func(*gin.Context) {}, around{})
	for range 2 {
		r := order("k")
		r.URL.Path = "/nowhere"
		answer := s.send(r)
		require.Equal(t, http.StatusNotFound, answer.Code)
		require.Equal(t, "404 page not found", answer.Body.String())
	}
	require.NotContains(t, s.events, idempotency.Refused)
	require.NotContains(t, s.events, idempotency.Replayed)
}

func TestWhatGoesPastTheProtectionIsRolledBackAndSaid(t *testing.T) {
	t.Parallel()
	var s *shop
	var said []string
	s = newShop(t, func(c *gin.Context) {
		c.Request.URL.Path = "/elsewhere"
		s.HandleContext(c)
	}, around{outer: []gin.HandlerFunc{func(c *gin.Context) { c.Next(); said = append(said, c.Errors.String()) }}})
	s.GET("/elsewhere", func(c *gin.Context) { c.String(http.StatusOK, "unprotected") })
	s.order("k")
	require.Contains(t, said[len(said)-1], "HandleContext")
	require.NotContains(t, s.events, idempotency.Completed)
	require.Contains(t, s.events, idempotency.Released)
}
