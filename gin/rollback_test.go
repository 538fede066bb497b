package idempotencygin_test

import (
	"net/http"
	"syscall"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/pgstore"
)

func TestWhatFailsByGinsMeansIsRolledBack(t *testing.T) {
	t.Parallel()
	t.Run("on Postgres", func(t *testing.T) {
		t.Parallel()
		for name, fail := range map[string]func(s *shop, c *gin.Context){
			"an error is attached":                  func(_ *shop, c *gin.Context) { attach(c, errMine) },
			"an error is attached after an answer":  func(_ *shop, c *gin.Context) { c.String(201, "made"); attach(c, errMine); c.Abort() },
			"aborted after an answer":               func(_ *shop, c *gin.Context) { c.String(201, "made"); c.AbortWithStatus(503) },
			"what cannot be rendered":               func(_ *shop, c *gin.Context) { c.JSON(201, func() {}) },
			"a panic after an answer":               func(_ *shop, c *gin.Context) { c.String(201, "made"); panic("boom") },
			"a panic that is a broken connection":   func(*shop, *gin.Context) { panic(syscall.ECONNRESET) },
			"a response sent past the protection":   func(s *shop, c *gin.Context) { c.Request.URL.Path = "/elsewhere"; s.HandleContext(c) },
			"a statement that nobody says is wrong": func(_ *shop, c *gin.Context) { _ = insert(c, "wrong"); c.String(201, "made") },
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				isRolledBack(t, fail)
			})
		}
	})
}

// isRolledBack checks that nothing is left of an order that fails so, and that a retry makes it once.
func isRolledBack(t *testing.T, fail func(s *shop, c *gin.Context)) {
	schema := pgtest.Schema(t)
	pool := pgtest.Pool(t, schema)
	_, err := pool.Exec(t.Context(), `CREATE TABLE effects (made int NOT NULL)`)
	require.NoError(t, err)
	store, err := pgstore.NewWithConfig(pool, pgstore.Config{Schema: schema})
	require.NoError(t, err)
	rows := func(want int) {
		t.Helper()
		var effects, keys int
		require.NoError(t, pool.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM effects), (SELECT count(*) FROM idempotency_keys)`).Scan(&effects, &keys))
		require.Equal(t, []int{want, want}, []int{effects, keys}, "effects, keys")
	}

	var s *shop
	broken := true
	var late *gin.Context
	s = newShop(t, func(c *gin.Context) {
		require.NoError(t, insert(c, "1"))
		late = c.Copy()
		if broken {
			fail(s, c)
			return
		}
		c.String(http.StatusCreated, "made")
	}, around{
		inner: []gin.HandlerFunc{gin.RecoveryWithWriter(nil)},
		store: func(idempotency.Store) idempotency.Store { return store },
	})
	s.GET("/elsewhere", func(c *gin.Context) { c.String(http.StatusOK, "unprotected") })

	require.NotEqual(t, http.StatusCreated, s.order("k").Code)
	rows(0)
	broken = false
	require.Equal(t, http.StatusCreated, s.order("k").Code)
	rows(1)
	require.Error(t, insert(late, "2"), "by a goroutine, when the handler has returned")
	require.Equal(t, "true", s.order("k").Header().Get("Idempotent-Replayed"))
	rows(1)
}

// insert leaves an effect by the handler's transaction.
func insert(c *gin.Context, value string) error {
	_, err := pgstore.Tx(c.Request.Context()).Exec(c.Request.Context(), `INSERT INTO effects VALUES ($1::text::int)`, value)
	return err
}
