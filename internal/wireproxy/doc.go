// Package wireproxy stands between a PostgreSQL client and its server, understands what they say to each other, and breaks
// their connection at a chosen statement. Tests use it to count round trips, to stop a process at an exact place, and to lose
// the reply to a COMMIT; benchmarks use it to be far away from the database.
//
//	proxy, err := wireproxy.Listen(databaseURL, wireproxy.Config{})
//	defer proxy.Close()
//	point := proxy.At(wireproxy.Statement.Commits, wireproxy.CutAfter)
//	// … a client of proxy.URL(databaseURL) commits, and never learns of it …
//	<-point.Done()
//
// It speaks the protocol's version 3 without TLS, which it declines: a client that insists on TLS does not get in.
package wireproxy
