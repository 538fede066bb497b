package torture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/onlyonce/onlyonce/integration/history"
)

// Run tortures for as long as config says, lets everything come to rest, and judges. It returns an error where that could not be
// done, and when ctx ends; what it has started is gone then as well.
func Run(ctx context.Context, config Config) (Report, error) {
	config, err := config.withDefaults()
	if err != nil {
		return Report{}, err
	}
	if config.Server, err = filepath.Abs(config.Server); err != nil {
		return Report{}, err
	}
	folder, err := os.MkdirTemp(config.Folder, "onlyonce-torture-")
	if err != nil {
		return Report{}, err
	}
	file, err := os.Create(filepath.Join(folder, "history.jsonl"))
	if err != nil {
		return Report{}, errors.Join(err, os.RemoveAll(folder))
	}
	w := &world{
		config: config, folder: folder, began: time.Now(),
		provider: newProvider(config.Seed), keys: &window{work: config.Work, seed: config.Seed},
		running: map[string]int{}, fired: map[string]int{}, missed: map[string]int{}, states: map[string]int{}, log: history.NewLog(file),
	}
	report, err := w.run(ctx)
	err = errors.Join(err, w.close(), file.Close())
	report.Complaints = w.complaints
	if ctx.Err() != nil {
		err = errors.Join(ctx.Err(), os.RemoveAll(folder))
	} else if err == nil && report.Clean() && !config.Keep {
		err = os.RemoveAll(folder)
	} else {
		report.Folder = folder
		if err != nil {
			err = fmt.Errorf("%w\nwhat there is of the run is in %s", err, folder)
		}
	}
	return report, err
}

// run is the whole of it, between the start and the end of everything.
func (w *world) run(ctx context.Context) (Report, error) {
	starting, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := w.open(starting); err != nil {
		return Report{}, err
	}
	impossible := w.impossible()
	w.mu.Lock() // servers are heard already
	w.began = time.Now()
	w.mu.Unlock()

	// Three ends, one after the other: of the faults and of new requests; of the clients' patience; of everything.
	over, end := context.WithTimeout(ctx, w.config.Duration)
	defer end()
	clientsCtx, giveUp := context.WithCancel(ctx)
	defer giveUp()
	watching, unwatch := context.WithCancel(ctx)
	defer unwatch()
	var watchers, clients, strikes sync.WaitGroup
	for _, s := range w.servers {
		watchers.Go(func() { s.watch(watching) })
	}
	for n := range w.config.Clients {
		clients.Go(func() { newClient(w, n, over, clientsCtx).work() })
	}
	watchers.Go(func() { w.tell(watching) })
	w.rage(over, &strikes, impossible)
	<-over.Done()
	strikes.Wait()

	w.mend(ctx)
	ended := w.now()
	w.rest(ctx, &clients, giveUp)
	unwatch()
	watchers.Wait()
	if ctx.Err() != nil { // whoever runs still is killed
		return Report{}, ctx.Err()
	}
	var all sync.WaitGroup
	for _, s := range w.servers {
		all.Go(func() { s.leave(20 * time.Second) })
	}
	all.Wait()
	if ctx.Err() != nil {
		return Report{}, ctx.Err()
	}
	return w.judge(ctx, ended, impossible)
}

// impossible returns why faults that were asked for cannot strike here.
func (w *world) impossible() map[string]error {
	why := map[string]error{}
	for _, f := range faults() {
		if !slices.Contains(w.config.Faults, f.name) {
			continue
		}
		if err := f.possible(w); err != nil {
			why[f.name] = err
		}
	}
	return why
}

// rage has the faults strike, at their times.
func (w *world) rage(ctx context.Context, strikes *sync.WaitGroup, impossible map[string]error) {
	byName := map[string]fault{}
	for _, f := range faults() {
		byName[f.name] = f
	}
	for _, s := range schedule(w.config) {
		if impossible[s.Fault] != nil {
			continue
		}
		pause(ctx, s.At-w.now())
		if ctx.Err() != nil {
			return
		}
		strikes.Go(func() { w.struck(s.Fault, byName[s.Fault].strike(ctx, w, s)) })
	}
}

// judge takes the snapshot and checks.
func (w *world) judge(ctx context.Context, ended time.Duration, impossible map[string]error) (Report, error) {
	snapshot, err := w.database.snapshot(ctx)
	if err != nil {
		return Report{}, fmt.Errorf("torture: what the database holds in the end cannot be read: %w", err)
	}
	snapshot.Charges = w.provider.all()
	w.mu.Lock()
	defer w.mu.Unlock()
	h := history.History{
		Run:      history.Run{Seed: w.config.Seed, Calm: w.config.calm(), FaultsEnded: ended},
		Attempts: w.attempts, Executions: w.executions, Snapshot: snapshot,
	}
	if err := w.log.Close(h); err != nil {
		return Report{}, fmt.Errorf("torture: the history cannot be written: %w", err)
	}
	return w.report(h, impossible), nil
}
