//go:build !race

package budget

// Racing is whether the race detector is on.
const Racing = false
