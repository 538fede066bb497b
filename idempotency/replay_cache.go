package idempotency

import (
	"context"
	"time"
)

// ReplayCache holds completed records in the memory of this process, so that a replay need not ask the store. The package
// replaycache, a module of its own, has one. It is safe for concurrent use, and quick.
//
// It need not be right about time: the engine looks at how old a record is before it answers with it, and at whether it is
// another engine's. It may lose what it was given, at any moment. What it must not do is to return under one key what was added under
// another: a key is scope and value, both.
type ReplayCache interface {
	// Get returns what was added last under key, or nil.
	Get(key Key) *CachedRecord
	// Add keeps record under key, in the place of what may be there. It may decline.
	Add(key Key, record *CachedRecord)
}

// CachedRecord is a record in a [ReplayCache], as it was before it was sealed. It is never changed.
type CachedRecord struct {
	record Record
	owner  *Engine
	until  instant
}

// Bytes is how many bytes of headers and body the record holds.
func (r *CachedRecord) Bytes() int {
	return len(r.record.Response.Header) + len(r.record.Response.Body)
}

// Left is for how long the record can still answer anything; 0 if it cannot any more.
func (r *CachedRecord) Left() time.Duration { return r.owner.clock(time.Now()).until(r.until) }

// instant is a moment by two clocks of the machine, in nanoseconds. The monotonic one cannot be set, and stands still while the
// machine is suspended; the wall clock goes on then, and can be set.
type instant struct{ monotonic, wall int64 }

var processStart = time.Now()

func instantOf(t time.Time) instant {
	return instant{int64(t.Sub(processStart)), t.UnixNano()}
}

func (i instant) after(d time.Duration) instant {
	return instant{i.monotonic + int64(d), i.wall + int64(d)}
}

// until returns the time to end by the clock that comes to it first, or 0 once either has.
func (i instant) until(end instant) time.Duration {
	return time.Duration(max(0, min(end.monotonic-i.monotonic, end.wall-i.wall)))
}

// replayCached answers out of the cache, if it can. What the completer asks for is at the store.
func (e *Engine) replayCached(ctx context.Context, request *Request, started time.Time) (result Result, err error, ok bool) {
	record := e.cached(request.Key, started)
	if record == nil || resumptionOf(ctx, request.Key) != nil {
		return Result{}, nil, false
	}
	kind, status := Replayed, record.Response.Status
	if request.isSame(record.Fingerprint) {
		result = Result{Response: record.Response, Replayed: true}
		if !request.SharesResponse {
			result.Response = copied(result.Response)
		}
	} else {
		err = ErrKeyReused
		kind, status = Reused, ErrKeyReused.Code.Status()
	}
	if e.observed {
		e.config.Observer(ctx, Event{Kind: kind, Scope: request.Key.Scope, Status: status, Duration: time.Since(started), Cached: true})
	}
	return result, err, true
}

// cached returns the record of key that the cache may answer with at that moment, or nil. It is shared: see copied.
func (e *Engine) cached(key Key, at time.Time) *Record {
	found := e.config.Cache.Get(key)
	if found == nil || found.owner != e || e.clock(at).until(found.until) == 0 {
		return nil
	}
	return &found.record
}

// asked is when the store is about to be asked for a record that the cache may get.
func (e *Engine) asked() (since instant) {
	if e.config.Cache != nil {
		since = e.clock(time.Now())
	}
	return since
}

// cache gives the cache a record that a replay would be answered with. What is left of its retention was left at a moment when it
// was asked for already, so that counting from then never comes out later than the store's own end.
func (e *Engine) cache(key Key, record *Record, left time.Duration, since instant) {
	if e.config.Cache == nil {
		return
	}
	end := since.after(min(left, e.config.CacheMaxAge))
	if e.clock(time.Now()).until(end) == 0 {
		return
	}
	e.config.Cache.Add(key, &CachedRecord{record: Record{Fingerprint: record.Fingerprint, Response: copied(record.Response)}, owner: e, until: end})
}

// copied returns a response that nobody else can change: the handler may have kept its slices, and so may a caller of [Engine.Run].
func copied(response Response) Response {
	header, body := response.Header, response.Body
	both := append(append(make([]byte, 0, len(header)+len(body)), header...), body...)
	response.Header, response.Body = both[:len(header):len(header)], both[len(header):]
	if header == nil {
		response.Header = nil
	}
	if body == nil {
		response.Body = nil
	}
	return response
}
