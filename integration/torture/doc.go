// Package torture runs a payments service on several servers, with many clients, and breaks whatever can be broken: servers are killed
// and stopped, connections to the database cut before and after a COMMIT, delayed, reset and half closed, backends terminated and
// killed, the database restarted and its disk filled, clocks set, and clients go away. Then it checks, by package history, that
// every key took effect once, and that everybody was told the truth about it.
//
//	report, err := torture.Run(ctx, torture.Config{Server: "bin/tortureserver", Duration: time.Minute, Seed: 7})
//	fmt.Println(report)
//
// A seed replays what is chosen: which faults strike, when and where, and what each client draws. It does not replay how
// processes and packets interleave, nor what depends on that.
package torture
