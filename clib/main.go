// Command clib is libonlyonce, the library for C and all that can call C: see README.md and include/onlyonce.h. It is built by make clib, with
// -buildmode=c-shared and c-archive.
//
// The functions of onlyonce.h are in C (*.c): they check what they are given, and the process, before anything of Go runs. Those on a store call what
// export.go exports; the others never enter Go.
package main

// main is never run: a library has none, and a program of this build mode must.
func main() {}
