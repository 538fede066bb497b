package api

import (
	"net/url"
	"strconv"

	"github.com/onlyonce/onlyonce/examples/payments/ledger"
)

const (
	defaultPageSize = 20
	maxPageSize     = 100
)

// PageQuery reads where a page of payments begins and how long it is.
func PageQuery(query url.Values) (from ledger.Cursor, limit int, err error) {
	limit = defaultPageSize
	if query.Has("limit") {
		limit, err = strconv.Atoi(query.Get("limit"))
		if err != nil || limit < 1 || limit > maxPageSize {
			return from, 0, badRequest("invalid-limit", "limit must be a number from 1 to 100.")
		}
	}
	if query.Has("cursor") {
		var ok bool
		if from, ok = ledger.ParseCursor(query.Get("cursor")); !ok {
			return from, 0, badRequest("invalid-cursor", "cursor must be the next of a page, as it was.")
		}
	}
	return from, limit, nil
}
