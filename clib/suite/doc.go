// Package suite holds libonlyonce to its header: its tests build the library and programs in C and C++ against it, and run them on a real PostgreSQL.
package suite
