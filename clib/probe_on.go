//go:build onlyonce_probe

package main

import "os"

// probe panics in the call that ONLYONCE_PROBE names, so that the tests see that no panic crosses into C.
func probe(name string) {
	if os.Getenv("ONLYONCE_PROBE") == name {
		panic("probed")
	}
}
