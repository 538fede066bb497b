package sqlstore

import (
	"regexp"
	"strings"
)

var (
	endingWords = regexp.MustCompile(`(?i)\b(commit|end|rollback|abort|prepare)\b`)
	// quoted is what holds words that are none of the statement's: comments, strings, and the bodies of functions.
	quoted        = regexp.MustCompile(`(?s)/\*.*?\*/|--[^\n]*|'[^']*'|\$\w*\$.*?\$\w*\$`)
	endsStatement = regexp.MustCompile(`(?i)^(commit|end|abort|prepare\s+transaction|rollback)\b(\s+(work|transaction))?\s*(\S*)`)
)

// endsTransaction reports whether a statement may end the transaction, which is so of anything that has the word in it and is looked
// into afterwards by the transaction's identity; and whether it reads as if it did, which counts only where the identity cannot
// be asked for any more: in a transaction that has failed.
func endsTransaction(query string) (may, reads bool) {
	if !endingWords.MatchString(query) {
		return false, false
	}
	for statement := range strings.SplitSeq(quoted.ReplaceAllString(query, " "), ";") {
		found := endsStatement.FindStringSubmatch(strings.TrimSpace(statement))
		if found == nil || strings.EqualFold(found[4], "to") || strings.EqualFold(found[4], "prepared") {
			continue // ROLLBACK TO a savepoint, COMMIT PREPARED
		}
		return true, true
	}
	return true, false
}
