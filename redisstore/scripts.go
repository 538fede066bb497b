package redisstore

import "github.com/redis/go-redis/v9"

// A key's hash is in one of four states, by its field state:
//
//	claimed    holder works on it, until held at least; nothing is kept of it. Redis drops it some time after that.
//	pending    it has a recovery point (fields point to error), which belongs to owner until leased. It may have a holder besides, who has
//	           begun a step, or has taken over and kept nothing yet. It never expires.
//	completed  it has a response, stored by the attempt that "by" names. It expires when its retention is over.
//	lent       see lending_scripts.go. To all the scripts here it is in progress, and never becomes theirs.
//
// Times are milliseconds of the server's clock. Numbers become text by format, since what Redis makes of a Lua number by itself is now and then 1e+08.
//
// No script deletes a hash that it then writes to: while a cluster moves the slot to another node, a hash that is not there counts as being
// there already, and the script would end half done.
//
// Each script may be sent twice, by this package or by the client, when its reply was lost: the second run finds what the first has done
// and answers alike. Whatever is compared is compared in the script that writes.

// script is a Lua script with its text.
type script struct {
	*redis.Script
	text string
}

func newScript(parts ...string) script {
	text := ""
	for _, part := range parts {
		text += part
	}
	return script{redis.NewScript(text), text}
}

// evenFull begins a script that a server runs even where it has reached maxmemory: what has begun is ended. Claims have to do without it, so that
// a full server takes no new key.
const evenFull = "#!lua flags=allow-oom\n"

const readsOnly = "#!lua flags=no-writes\n"

const reading = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function int(number) return string.format('%.0f', number) end
local row = redis.call('HMGET', KEYS[1], 'state', 'holder', 'held', 'owner', 'leased')
local state, holder, owner = row[1], row[2], row[4]
local held, leased = tonumber(row[3] or 0) or 0, tonumber(row[5] or 0) or 0
`

// mine says whether the key is still the attempt's, which holds it by ARGV[1], and has read or written the owner token ARGV[2] last. What
// another attempt holds is lost, although that one has kept nothing yet: it has read the row, and what was written now would be lost.
const mine = `
local function mine()
	if state == 'claimed' then return holder == ARGV[1] end
	if state ~= 'pending' or owner ~= ARGV[2] then return false end
	return not holder or holder == ARGV[1] or now >= held
end
`

const recorded = `
local function recorded()
	local r = redis.call('HMGET', KEYS[1], 'fingerprint', 'status', 'header', 'body')
	return {'completed', redis.call('PTTL', KEYS[1]), r[1], r[2], r[3], r[4]}
end
`

// claimScript is SET NX PX, and what is there if it is not free. ARGV: holder, lease, for how much longer the hash stays.
//
// What is taken over is written to in a full server, too, since its end makes room: Redis refuses only a script whose first write takes
// memory.
var claimScript = newScript(reading, recorded, `
if state == 'completed' then return recorded() end
if state == 'lent' then return {'working'} end
if state == 'claimed' then
	if holder ~= ARGV[1] and now < held then return {'working'} end
	redis.call('PEXPIRE', KEYS[1], int(ARGV[2] + ARGV[3]))
	redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'held', int(now + ARGV[2]))
	return {'claimed'}
end
if state == 'pending' then
	if not owner or #owner ~= 16 then return {'unreadable'} end
	if holder ~= ARGV[1] and (now < leased or holder and now < held) then return {'working'} end
	redis.call('PERSIST', KEYS[1])
	redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'held', int(now + ARGV[2]))
	local p = redis.call('HMGET', KEYS[1], 'fingerprint', 'point', 'steps', 'request', 'attempt', 'completions', 'error')
	return {'pending', owner, p[1], p[2], p[3], p[4], p[5], p[6], p[7]}
end
if redis.call('EXISTS', KEYS[1]) == 1 then return {'unreadable'} end
redis.call('HSET', KEYS[1], 'state', 'claimed', 'holder', ARGV[1], 'held', int(now + ARGV[2]))
redis.call('PEXPIRE', KEYS[1], int(ARGV[2] + ARGV[3]))
return {'claimed'}
`)

// lookupScript reads a record and how long it stays in one look.
var lookupScript = newScript(readsOnly, reading, recorded, `
if state == 'completed' then return recorded() end
return {'none'}
`)

// releaseScript is the compare-and-delete. ARGV: holder, owner.
var releaseScript = newScript(evenFull, reading, `
if state == 'claimed' and holder == ARGV[1] then
	redis.call('DEL', KEYS[1])
	return {'done'}
end
if state == 'pending' and holder == ARGV[1] then
	redis.call('HDEL', KEYS[1], 'holder', 'held')
	return {'done'}
end
if not state or state == 'pending' and owner == ARGV[2] then return {'done'} end
return {'lost'}
`)

// beginScript takes hold of the key for a step. ARGV: holder, owner, lease, for how much longer a claimed hash stays.
var beginScript = newScript(evenFull, reading, mine, `
if not mine() then return {'lost'} end
if state == 'claimed' then redis.call('PEXPIRE', KEYS[1], int(ARGV[3] + ARGV[4])) end
redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'held', int(now + ARGV[3]))
return {'done'}
`)

// renewScript moves the end of what the attempt has: its hold, and its lease where it owns the row (ARGV[6] is 1). It makes neither
// shorter. ARGV: holder, owner, lease, for how much longer a claimed hash stays, member, whether it owns the row.
var renewScript = newScript(evenFull, reading, mine, `
if not mine() then return {'lost'} end
local till = now + ARGV[3]
if state == 'claimed' then
	redis.call('PEXPIRE', KEYS[1], int(ARGV[3] + ARGV[4]))
end
if state == 'claimed' or holder == ARGV[1] or ARGV[6] ~= '1' then
	redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'held', int(math.max(held, till)))
end
if state == 'pending' and ARGV[6] == '1' and leased < till then
	redis.call('HSET', KEYS[1], 'leased', int(till))
	redis.call('ZADD', KEYS[2], int(till), ARGV[5])
end
return {'done'}
`)

// saveScript keeps a recovery point, and lets go of the key but for the lease. ARGV: holder, owner, the next owner, lease, member, scope, key,
// fingerprint, point, steps, request, attempt, completions, error.
var saveScript = newScript(evenFull, reading, mine, `
if state == 'pending' and owner == ARGV[3] then
	redis.call('HSET', KEYS[1], 'owner', owner)
	return {'again'}
end
if not mine() then return {'lost'} end
local till = int(now + ARGV[4])
redis.call('ZADD', KEYS[2], till, ARGV[5])
if state == 'claimed' then
	redis.call('HINCRBY', KEYS[3], ARGV[6], 1)
	redis.call('PERSIST', KEYS[1])
	redis.call('HSET', KEYS[1], 'state', 'pending', 'since', int(time[1] * 1000000 + time[2]), 'scope', ARGV[6], 'key', ARGV[7])
end
redis.call('HDEL', KEYS[1], 'holder', 'held')
redis.call('HSET', KEYS[1], 'owner', ARGV[3], 'leased', till, 'fingerprint', ARGV[8], 'point', ARGV[9], 'steps', ARGV[10], 'request', ARGV[11],
	'attempt', ARGV[12], 'completions', ARGV[13], 'error', ARGV[14])
return {'done'}
`)

// completeScript turns the claim, or the pending row, into the record. What is written in its place for the attempt's own record, found on a second
// run, changes nothing, and gives a WAIT behind it something to wait for. ARGV: holder, owner, retention, member, scope, fingerprint, status, header, body.
var completeScript = newScript(evenFull, reading, mine, recorded, `
if state == 'completed' then
	if redis.call('HGET', KEYS[1], 'by') ~= ARGV[1] then return recorded() end
	redis.call('HSET', KEYS[1], 'by', ARGV[1])
	return {'again'}
end
if not mine() then return {'lost'} end
if state == 'pending' then
	if redis.call('HINCRBY', KEYS[3], ARGV[5], -1) <= 0 then redis.call('HDEL', KEYS[3], ARGV[5]) end
	redis.call('ZREM', KEYS[2], ARGV[4])
end
redis.call('HSET', KEYS[1], 'state', 'completed', 'by', ARGV[1], 'fingerprint', ARGV[6], 'status', ARGV[7], 'header', ARGV[8], 'body', ARGV[9])
redis.call('HDEL', KEYS[1], 'holder', 'held', 'owner', 'leased', 'point', 'steps', 'request', 'attempt', 'completions', 'error', 'since', 'scope', 'key')
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return {'done'}
`)

// overdueScript lists the members of an index (KEYS[1]) whose lease is over. ARGV: how many to leave out, how many to list.
const overdueScript = readsOnly + `
local time = redis.call('TIME')
return redis.call('ZRANGE', KEYS[1], '-inf', string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)), 'BYSCORE', 'LIMIT', ARGV[1], ARGV[2])
`

// ageScript says since when a key is pending, for how long its lease has been over, and how often the completer has tried it; nothing, where
// somebody works on it.
const ageScript = readsOnly + reading + `
if state ~= 'pending' or now < leased or holder and now < held then return {'none'} end
local p = redis.call('HMGET', KEYS[1], 'since', 'completions')
return {'due', p[1], int(now - leased), p[2]}
`
