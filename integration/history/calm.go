package history

// undisturbed is [Undisturbed].
func (c *checker) undisturbed(f *file) {
	if len(f.executions) == 0 {
		return
	}
	// A refusal is rolled back before it is stored, and between the two the key is free for an instant. A duplicate that comes just then
	// runs the handler for nothing; its client is told what is stored.
	if n := len(f.executions); n > 1 && f.kind != Refusal {
		c.convict(Undisturbed, f, f.that(f.executed), "the handler was run %d times, and nothing was disturbed", n)
	}
	for _, e := range f.executions {
		if e.End == 0 {
			c.convict(Undisturbed, f, f.that(f.executed), "a handler that was begun by attempt %s was not finished", e.Attempt)
		}
	}
	if len(f.records) == 0 || f.records[0].State != "completed" {
		c.convict(Undisturbed, f, f.that(f.executed), "a handler was run, and its result is not stored")
	}
}

func (f *file) executed(a Attempt) bool {
	for _, e := range f.executions {
		if e.Attempt == a.ID {
			return true
		}
	}
	return false
}
