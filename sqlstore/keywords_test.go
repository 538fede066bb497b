package sqlstore

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWordsThatEndATransactionAreFound(t *testing.T) {
	t.Parallel()
	for query, want := range map[string][2]bool{
		"SELECT 1":                               {false, false},
		"SELECT CASE WHEN true THEN 1 END":       {true, false},
		"COMMIT":                                 {true, true},
		" commit and chain":                      {true, true},
		"/* ; */ End":                            {true, true},
		"-- no\nROLLBACK":                        {true, true},
		"rollback work":                          {true, true},
		"ROLLBACK TO SAVEPOINT a":                {true, false},
		"ROLLBACK WORK TO a":                     {true, false},
		"ABORT":                                  {true, true},
		"PREPARE TRANSACTION 'a'":                {true, true},
		"PREPARE a AS SELECT 1":                  {true, false},
		"COMMIT PREPARED 'a'":                    {true, false},
		"SELECT 1; COMMIT":                       {true, true},
		"SELECT '; COMMIT'":                      {true, false},
		"DO $$ BEGIN NULL; END $$":               {true, false},
		"DO $a$ BEGIN COMMIT; END $a$; ROLLBACK": {true, true},
		"SELECT * FROM weekend":                  {false, false},
	} {
		may, reads := endsTransaction(query)
		require.Equal(t, want, [2]bool{may, reads}, query)
	}
}
