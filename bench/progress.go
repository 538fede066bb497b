package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// progress says what goes on: on a terminal in one line that changes, else in a line now and then.
type progress struct {
	to       io.Writer
	terminal bool
	began    time.Time

	mu   sync.Mutex
	last time.Time
	long int
}

const (
	often  = 100 * time.Millisecond
	seldom = 5 * time.Second
)

func (p *progress) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	line := fmt.Sprintf("%s  %s", now.Sub(p.began).Round(time.Second), fmt.Sprintf(format, args...))
	if !p.terminal {
		if now.Sub(p.last) >= seldom {
			p.last = now
			fmt.Fprintln(p.to, line)
		}
		return
	}
	if now.Sub(p.last) >= often {
		p.last = now
		fmt.Fprintf(p.to, "\r%s%s", line, strings.Repeat(" ", max(0, p.long-utf8.RuneCountInString(line))))
		p.long = utf8.RuneCountInString(line)
	}
}

// end leaves the line.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.terminal && p.long > 0 {
		fmt.Fprintln(p.to)
		p.long = 0
	}
}
