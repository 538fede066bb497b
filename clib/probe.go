//go:build !onlyonce_probe

package main

// probe does nothing but in the tests' own build of the library.
func probe(string) {}
