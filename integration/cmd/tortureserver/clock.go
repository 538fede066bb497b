package main

// moveClock puts the process's wall clock so many seconds off the real one. It is nil unless the program was built with a clock that
// can be moved: see package overlay.
var moveClock func(seconds int64)
