// Package growth measures what a table of stored keys costs as it grows: payments with a fresh key, replays and reaping beside
// 10 thousand to 50 million of them, each in turn with the smallest; a week of keys that come and go; and the reaper beside
// payments at full load.
package growth
