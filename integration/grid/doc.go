// Package grid holds every adapter to its promises on every store that it can stand on: to the HTTP contract, and to what a store
// promises of an operation whose process is killed.
package grid
