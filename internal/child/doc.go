// Package child ties processes that tests and tools start to those that have started them.
package child
