package keytable

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Table is the table's name.
const Table = "idempotency_keys"

// Name is what the table is called in statements.
type Name struct {
	// Quoted is the table's name, qualified where a schema is configured.
	Quoted string
	// Namespace is the schema as it is configured.
	Namespace string

	in *strings.Replacer
}

// In returns sql for this table: {table} stands for its name, {literal} for the same as a string.
func (n Name) In(sql string) string { return n.in.Replace(sql) }

// NameIn returns the name of the table in schema; "" leaves it to the search_path.
func NameIn(schema string) Name {
	quoted := quote(Table)
	if schema != "" {
		quoted = quote(schema) + "." + quoted
	}
	// A string in SQL, whatever standard_conforming_strings and backslash_quote say.
	literal := `E'` + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(quoted) + `'`
	return Name{Quoted: quoted, Namespace: schema, in: strings.NewReplacer("{table}", quoted, "{literal}", literal, "{whole}", wholeSQL)}
}

func quote(identifier string) string { return `"` + strings.ReplaceAll(identifier, `"`, `""`) + `"` }

// CheckSchema refuses a name that the server would take for another one: it cuts a longer one short, without an error, and the lock
// of a key is made of the name as it stands here.
func CheckSchema(name string) error {
	const most = 63
	if len(name) > most || !utf8.ValidString(name) || strings.ContainsRune(name, 0) {
		return fmt.Errorf("Config.Schema is %q: a schema's name has up to %d bytes of UTF-8 without NUL", name, most)
	}
	return nil
}
