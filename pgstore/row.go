package pgstore

import (
	"errors"
	"math"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/onlyonce/onlyonce/internal/keytable"
)

// row is what the table says of a key.
type row struct{ keytable.Row }

// scan reads what readSQL has found, if anything.
func (r *row) scan(from pgx.Row) error {
	var expires, now pgtype.Timestamptz
	var standbys, level string
	err := from.Scan(&r.State, &r.Fingerprint, &r.Status, &r.Headers, &r.Body, &expires, &now, &standbys, &level)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	r.Judge(microseconds(expires), microseconds(now), standbys, level)
	return err
}

func microseconds(t pgtype.Timestamptz) int64 {
	switch {
	case !t.Valid || t.InfinityModifier == pgtype.Infinity:
		return keytable.Never
	case t.InfinityModifier == pgtype.NegativeInfinity:
		return math.MinInt64
	}
	return t.Time.Sub(keytable.Epoch).Microseconds()
}
