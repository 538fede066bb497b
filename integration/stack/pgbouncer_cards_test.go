package stack

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// Between two steps nothing is held, so that each transaction of a card payment may have another of PgBouncer's connections.
func TestBehindPgBouncerACardPaymentIsTakenOnceWhereverItsProcessIsHit(t *testing.T) {
	beside(t)
	pooled := func(t *testing.T) (*world, string, cardSettings) {
		w, schema := newCardWorld(t)
		return w, schema, cardSettings{URL: startBouncer(t, w.url, schema), BehindPooler: true}
	}
	_, _, with := pooled(t)
	r := observe(t, with.URL, with)
	cells := r.cells()
	if !everyCell(t) {
		var few []crash
		for _, wanted := range []func(crash) bool{
			func(c crash) bool { return c.killed == r.commit && !c.frozen && c.deserted }, // the completer makes the call
			func(c crash) bool { return c.stage == onTheWay && !c.frozen && !c.deserted }, // charged, and nobody knows
			func(c crash) bool { return c.stage == doorstep && c.overlap && !c.deserted },
			func(c crash) bool { return c.killed == r.length-1 && c.frozen && !c.deserted && !c.overlap },
		} {
			at := slices.IndexFunc(cells, wanted)
			require.GreaterOrEqual(t, at, 0)
			few = append(few, cells[at])
		}
		cells = few
	}
	for _, c := range cells {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w, schema, with := pooled(t)
			c.run(t, w, schema, with)
		})
	}
}
