package withsqlc

type Payment struct {
	ID      int64
	Account string
	Cents   int64
}
