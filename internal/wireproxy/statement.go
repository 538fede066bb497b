package wireproxy

import (
	"fmt"
	"strings"
)

// Statement is one statement that a client sent. In the simple protocol it is one Query message, which may hold several
// statements separated by semicolons: the server gets all of them or none.
type Statement struct {
	// Number counts the statements of all connections, from 1, since [Listen] or [Proxy.Forget]. 0 for Prepare.
	Number int
	// Connection is the number of the client's connection, from 1 in the order in which they were made.
	Connection int
	// Trip is the round trip of the connection that the statement is part of, from 1 since it was made.
	Trip int
	// Backend is the process id of the server's backend.
	Backend uint32
	// SQL is the text as the client sent it. Values are not in it, except in the simple protocol.
	SQL string
	// Prepare says that the statement was only prepared or described here, not executed.
	Prepare bool
}

// Commits reports whether the statement is, or ends with, a COMMIT.
func (s Statement) Commits() bool {
	sql := strings.TrimRight(s.SQL, "; \t\r\n")
	last := strings.TrimSpace(sql[strings.LastIndexByte(sql, ';')+1:])
	return strings.EqualFold(last, "COMMIT") || strings.EqualFold(last, "END")
}

// String is one line: connection.trip, number, and the text without line breaks.
func (s Statement) String() string {
	number := fmt.Sprintf("#%d", s.Number)
	if s.Prepare {
		number = "prepare"
	}
	return fmt.Sprintf("%d.%d %s %s", s.Connection, s.Trip, number, strings.Join(strings.Fields(s.SQL), " "))
}

// Lines prints statements, one a line.
func Lines(statements []Statement) string {
	var lines strings.Builder
	for _, s := range statements {
		lines.WriteString(s.String())
		lines.WriteByte('\n')
	}
	return lines.String()
}

// names knows what a client's prepared statements stand for.
type names struct {
	statements map[string]string
	parsed     []string // texts that were parsed since the last Sync and not bound yet
}

// sent is what a message of the client's says about statements.
type sent struct {
	sql      string
	executes bool
	prepared []string
}

// look reads one message. A statement executes at its Bind: what follows it up to the Execute is of no use without it.
func (n *names) look(m message) sent {
	switch m.kind {
	case 'Q':
		sql, _ := word(m.body)
		return sent{sql: sql, executes: true}
	case 'P':
		name, rest := word(m.body)
		sql, _ := word(rest)
		n.statements[name] = sql
		n.parsed = append(n.parsed, sql)
	case 'B':
		_, rest := word(m.body)
		name, _ := word(rest)
		sql := n.statements[name]
		if last := len(n.parsed) - 1; last >= 0 && n.parsed[last] == sql {
			n.parsed = n.parsed[:last]
		}
		return sent{sql: sql, executes: true}
	case 'C':
		if len(m.body) > 0 && m.body[0] == 'S' {
			name, _ := word(m.body[1:])
			delete(n.statements, name)
		}
	case 'S', 'H':
		prepared := n.parsed
		n.parsed = nil
		return sent{prepared: prepared}
	}
	return sent{}
}
