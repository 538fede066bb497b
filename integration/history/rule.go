package history

// Rule is what a history may not break.
type Rule string

const (
	// Once: a key has at most one effect.
	Once Rule = "once"
	// Unanswered: a key that nobody was told the result of has no effect, or one.
	Unanswered Rule = "unanswered"
	// Kept: a success has exactly one effect, the one that it names, with the content that was asked for.
	Kept Rule = "kept"
	// SameBytes: all successes of a key are equal, byte for byte.
	SameBytes Rule = "same bytes"
	// Recorded: a key is completed if and only if its effect is there, and what is stored is what clients were told. A refusal is
	// completed without an effect.
	Recorded Rule = "recorded"
	// Whole: a payment is there with its two entries, the balances are those that the entries make, and no money is made or lost.
	Whole Rule = "whole"
	// Honest: an attempt that was told that it did not take effect did not.
	Honest Rule = "honest"
	// Sensible: every answer is one that the contract knows for such a request.
	Sensible Rule = "sensible"
	// Unstuck: once the faults are over every client gets a final answer, and no key stays pending.
	Unstuck Rule = "unstuck"
	// Stepwise: each atomic step is there once, and the charge too, for every chain that was begun.
	Stepwise Rule = "stepwise"
	// Ordered: what was done is done for everybody who asks later. Each key is linearizable, as porcupine says.
	Ordered Rule = "ordered"
	// Undisturbed: where nothing breaks, a handler that was begun is finished, and none is run twice for a key that is not refused.
	Undisturbed Rule = "undisturbed"
)

// Rules are all of them.
var Rules = []Rule{Once, Unanswered, Kept, SameBytes, Recorded, Whole, Honest, Sensible, Unstuck, Stepwise, Ordered, Undisturbed}
