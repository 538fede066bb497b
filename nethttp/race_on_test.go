//go:build race

package nethttp_test

// raceSlack is what the race detector adds: with it, sync.Pool forgets at random.
const raceSlack = 4
