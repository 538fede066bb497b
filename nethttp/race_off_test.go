//go:build !race

package nethttp_test

const raceSlack = 0
