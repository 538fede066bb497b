package torture

import (
	"context"
	"errors"
	"time"
)

var clock = fault{
	name: "clock", about: "the wall clock of a server jumps by minutes or hours, either way",
	possible: func(w *world) error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		for _, s := range w.servers {
			if moved := s.setClock(ctx, 0); !moved {
				return errors.New("the server was built with a clock that cannot be moved (package overlay has one that can)")
			}
		}
		return nil
	},
	strike: func(ctx context.Context, w *world, s Strike) bool {
		by := s.length(time.Minute, 30*time.Hour)
		if s.Coin&1 == 0 {
			by = -by
		}
		bounded, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		return w.servers[s.Server].setClock(bounded, int64(by/time.Second))
	},
}
