package redisstore

// A key that is lent is a hash in a state of its own:
//
//	lent       it belongs to owner until leased, and after that to who acquires it next. Redis drops it when it need not be remembered any more,
//	           remember after the end of the lease. It is in no index: nobody resumes it.
//
// What settles it is completed "by" the owner.

// acquireScript lends the key. ARGV: owner, lease, for how long it is remembered, fingerprint, another one that is as good, the one that compares
// nothing.
//
// A claim whose time is over was somebody's work, and nobody knows how far that got: so the owner is the second. What is taken over is written to
// in a full server, too: see claimScript.
var acquireScript = newScript(reading, recorded, `
if state == 'completed' then return recorded() end
if state == 'pending' or state == 'claimed' and now < held then return {'working'} end
local lease, remember, none = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[6]
local attempt, fingerprint = 1, ARGV[4]
if state == 'lent' then
	if not owner or #owner ~= 16 then return {'unreadable'} end
	if owner ~= ARGV[1] and now < leased then return {'working'} end
	local row = redis.call('HMGET', KEYS[1], 'attempt', 'fingerprint')
	attempt = tonumber(row[1])
	if not attempt or not row[2] or #row[2] ~= #none then return {'unreadable'} end
	if ARGV[4] == none then
		fingerprint = row[2]
	elseif row[2] ~= none and row[2] ~= ARGV[4] and row[2] ~= ARGV[5] then
		return {'differs', row[2]}
	end
	if owner ~= ARGV[1] then attempt = attempt + 1 end
elseif state == 'claimed' then
	attempt = 2
elseif redis.call('EXISTS', KEYS[1]) == 1 then
	return {'unreadable'}
end
if state then redis.call('PEXPIRE', KEYS[1], int(lease + remember)) end
redis.call('HSET', KEYS[1], 'state', 'lent', 'owner', ARGV[1], 'leased', int(now + lease), 'remember', int(remember),
	'attempt', int(attempt), 'fingerprint', fingerprint)
redis.call('HDEL', KEYS[1], 'holder', 'held')
redis.call('PEXPIRE', KEYS[1], int(lease + remember))
return {'lent', int(attempt)}
`)

const lentTo = `
if state ~= 'lent' or owner ~= ARGV[1] then return {'lost'} end
`

// settleScript turns the loan into the record. What is written in the place of the owner's own record, found on a second run, changes nothing,
// and gives a WAIT behind it something to wait for. A record without a fingerprint keeps the loan's. ARGV: owner, retention, fingerprint, status, header, body,
// the fingerprint that compares nothing.
var settleScript = newScript(evenFull, reading, `
if state == 'completed' then
	local r = redis.call('HMGET', KEYS[1], 'by', 'fingerprint', 'status', 'header', 'body')
	if r[1] ~= ARGV[1] or r[2] ~= ARGV[3] and ARGV[3] ~= ARGV[7] or r[3] ~= ARGV[4] or r[4] ~= ARGV[5] or r[5] ~= ARGV[6] then return {'lost'} end
	redis.call('HSET', KEYS[1], 'by', ARGV[1])
	return {'again'}
end
`, lentTo, `
redis.call('HSET', KEYS[1], 'state', 'completed', 'by', ARGV[1], 'status', ARGV[4], 'header', ARGV[5], 'body', ARGV[6])
if ARGV[3] ~= ARGV[7] then redis.call('HSET', KEYS[1], 'fingerprint', ARGV[3]) end
redis.call('HDEL', KEYS[1], 'owner', 'leased', 'remember', 'attempt')
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {'done'}
`)

// extendScript moves the end of the lease. ARGV: owner, lease.
var extendScript = newScript(evenFull, reading, lentTo, `
local remember = tonumber(redis.call('HGET', KEYS[1], 'remember') or 0) or 0
redis.call('PEXPIRE', KEYS[1], int(ARGV[2] + remember))
redis.call('HSET', KEYS[1], 'leased', int(now + ARGV[2]))
return {'done'}
`)

// freeScript deletes the hash, or leaves it as the owner before has: its token is nobody's then. ARGV: owner.
var freeScript = newScript(evenFull, reading, lentTo, `
local row = redis.call('HMGET', KEYS[1], 'attempt', 'remember')
local attempt = tonumber(row[1] or 1) or 1
if attempt <= 1 then
	redis.call('DEL', KEYS[1])
	return {'done'}
end
redis.call('PEXPIRE', KEYS[1], int(tonumber(row[2] or 0) or 0))
redis.call('HSET', KEYS[1], 'owner', string.rep('\0', 16), 'leased', int(now), 'attempt', int(attempt - 1))
return {'done'}
`)
