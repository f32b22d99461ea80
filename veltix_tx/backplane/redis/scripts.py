"""Scripts that Redis runs, each in one step: histories, presence, leases.

The keys behind the prefix, which ends with ``:``:

- ``nodes``: a set of the ids of all nodes.
- ``node:NODE``: what the node says of itself; it is the node's lease, and expires on Redis's own clock.
- ``own:NODE:TOPIC``: a hash of the members that the node has on a topic.
- ``of:NODE``: a set of the node's topics.
- ``on:TOPIC``: a set of the nodes that have members on a topic.
- ``topics``: a set of the topics that have members.
- ``log:TOPIC``: a stream of a topic's history; its ids are ``OFFSET-1``.
- ``top:TOPIC``: a hash of its epoch, its latest offset, and the run of Redis that it began in.

The channels: ``t:TOPIC``, ``n:NODE`` and ``all``.
"""

from __future__ import annotations

from hashlib import sha1

__all__ = ["BEAT", "CHANGE", "COUNTS", "HISTORY", "JOIN", "MEMBERS", "NODES", "PUBLISH", "REAP", "SCRIPTS", "SEND", "Script"]


class Script:
    """A script of Redis's: its text, and the name that Redis calls it by."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = sha1(text.encode(), usedforsecurity=False).hexdigest()


_ITEM = """
local function item(text) return struct.pack('>I4', #text) .. text end
"""

_EPOCH = """
local function place(prefix, topic, run, epoch, kept)
  local top = prefix .. 'top:' .. topic
  local old = redis.call('HMGET', top, 'epoch', 'run', 'offset')
  if old[1] and old[2] == run then
    if kept then redis.call('PEXPIRE', top, kept) end
    return old[1], tonumber(old[3])
  end
  redis.call('DEL', prefix .. 'log:' .. topic)
  redis.call('HSET', top, 'epoch', epoch, 'run', run, 'offset', 0)
  redis.call('PEXPIRE', top, kept or 172800000)
  return epoch, 0
end
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
"""

SEND = Script(
    """
local takers = {}
for i = 2, #ARGV, 2 do
  takers[#takers + 1] = redis.call('PUBLISH', ARGV[i], ARGV[i + 1])
end
return takers
"""
)
"""Publish on several channels: prefix, then of each channel and message. Returns how many took each."""

PUBLISH = Script(
    _ITEM
    + _EPOCH
    + """
local prefix, run, epoch, header, node = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local places, at, time = {}, 6, now()
while at < #ARGV do
  local topic, size, ttl, kept, last = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), ARGV[at + 3], at + 4 + ARGV[at + 4]
  local present, offset = place(prefix, topic, run, epoch, kept)
  local log, first, ends = prefix .. 'log:' .. topic, offset + 1, string.format('%.0f', time + ttl)
  local parts = {header, item(present), item(string.format('%.0f', first))}
  for i = at + 5, last do
    offset = offset + 1
    redis.call('XADD', log, 'MAXLEN', size, string.format('%.0f-1', offset), 'e', ends, 'n', node, 'p', ARGV[i])
    parts[#parts + 1] = item(ARGV[i])
  end
  redis.call('PEXPIRE', log, ttl)
  redis.call('HSET', prefix .. 'top:' .. topic, 'offset', string.format('%.0f', offset))
  redis.call('PUBLISH', prefix .. 't:' .. topic, table.concat(parts))
  places[#places + 1] = present
  places[#places + 1] = first
  at = last + 1
end
return places
"""
)
"""Keep messages and publish them: prefix, run, a new epoch, header, node; then of each topic its name, the size of its history, ms
for which messages and epoch are kept, the number of messages, and these. Returns the epoch and the first offset of each."""

HISTORY = Script(
    _EPOCH
    + """
local prefix, topic, run, since_epoch = ARGV[1], ARGV[2], ARGV[3], ARGV[5]
local since, limit, size = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local epoch, top = place(prefix, topic, run, ARGV[4], nil)
local log, at = prefix .. 'log:' .. topic, now()
local function id(offset) return string.format('%.0f-1', offset) end
local function offset_of(entry) return tonumber(string.match(entry[1], '^%d+')) end
local function live(entry) return tonumber(entry[2][2]) > at end
local first, oldest = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1], top + 1
if first and live(first) then
  oldest = offset_of(first)
elseif first then
  local expired = offset_of(first)
  while oldest - expired > 1 do
    local middle = math.floor((expired + oldest) / 2)
    local found = redis.call('XRANGE', log, id(middle), id(middle))[1]
    if found and live(found) then oldest = middle else expired = middle end
  end
end
local recovered, start = 1, oldest
if since < 0 then
  start = top
elseif since_epoch == epoch and since <= top and oldest <= since + 1 then
  start = since + 1
else
  recovered = 0
end
local items, largest, step = {}, 1, 1
while limit > 0 and size > 0 and start >= oldest and start <= top do
  local found = redis.call('XRANGE', log, id(start), since < 0 and id(start) or '+', 'COUNT', math.min(limit, step))
  for _, entry in ipairs(found) do
    size = size - #entry[2][6]
    if #items > 0 and size < 0 then break end
    largest = math.max(largest, #entry[2][6])
    start = offset_of(entry) + (since < 0 and -1 or 1)
    items[#items + 1] = {string.match(entry[1], '^%d+'), entry[2][4], entry[2][6]}
  end
  if #found == 0 then break end
  limit, step = limit - #found, math.max(1, math.min(16, math.floor(size / largest)))
end
local flat = {}
for i = 1, #items do
  local item = items[since < 0 and #items + 1 - i or i]
  for part = 1, 3 do flat[#flat + 1] = item[part] end
end
return {epoch, top, recovered, flat}
"""
)
"""Look a history up: prefix, topic, run, a new epoch, epoch and offset of the position (-1 for none), maximum of items, and of
their bytes together, of which one item may have more. An entry is read to see that it has expired: so the oldest that has not is
searched for by halves."""

JOIN = Script(
    """
local prefix, node = ARGV[1], ARGV[2]
local known = redis.call('EXISTS', prefix .. 'node:' .. node)
redis.call('SET', prefix .. 'node:' .. node, ARGV[4], 'PX', ARGV[3])
redis.call('SADD', prefix .. 'nodes', node)
return {known, redis.call('SMEMBERS', prefix .. 'of:' .. node)}
"""
)
"""Begin or go on with a lease: prefix, node, ms, what the node says. Returns 1 where it had not ended, and the node's topics."""

BEAT = Script(
    """
local prefix, node = ARGV[1], ARGV[2]
if not redis.call('SET', prefix .. 'node:' .. node, ARGV[4], 'XX', 'PX', ARGV[3]) then return {0, {}} end
local dead = {}
for _, other in ipairs(redis.call('SMEMBERS', prefix .. 'nodes')) do
  if redis.call('EXISTS', prefix .. 'node:' .. other) == 0 then dead[#dead + 1] = other end
end
return {1, dead}
"""
)
"""Renew a lease, unless it has ended: prefix, node, ms, what the node says. Returns 1 or 0, and the nodes whose leases have
ended."""

_EMPTY = """
local function tidy(prefix, node, topic)
  redis.call('SREM', prefix .. 'of:' .. node, topic)
  redis.call('SREM', prefix .. 'on:' .. topic, node)
  if redis.call('EXISTS', prefix .. 'on:' .. topic) == 0 then redis.call('SREM', prefix .. 'topics', topic) end
end
"""

REAP = Script(
    _ITEM
    + _EMPTY
    + """
local prefix, node, header, most = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[5])
if ARGV[6] == '1' then redis.call('DEL', prefix .. 'node:' .. node) end
if redis.call('EXISTS', prefix .. 'node:' .. node) == 1 then return 0 end
for _, topic in ipairs(redis.call('SRANDMEMBER', prefix .. 'of:' .. node, most)) do
  local own, parts = prefix .. 'own:' .. node .. ':' .. topic, {header}
  local all = redis.call('HGETALL', own)
  for i = 1, #all, 2 do
    parts[#parts + 1] = item('l') .. item(all[i]) .. item(all[i + 1])
  end
  redis.call('DEL', own)
  tidy(prefix, node, topic)
  redis.call('PUBLISH', prefix .. 't:' .. topic, table.concat(parts))
end
if redis.call('EXISTS', prefix .. 'of:' .. node) == 1 then return 1 end
if redis.call('SREM', prefix .. 'nodes', node) == 0 then return 0 end
redis.call('PUBLISH', prefix .. 'all', ARGV[4])
return 2
"""
)
"""Take a node's presence out, unless its lease runs: prefix, node, header, the frame that tells of it, topics in one go, 1 to end
the lease before. Returns 1 where there are more topics,
2 where it was this call that took the node out."""

CHANGE = Script(
    _ITEM
    + _EMPTY
    + """
local prefix, node, topic, header, whole = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if redis.call('EXISTS', prefix .. 'node:' .. node) == 0 then return 0 end
local own, left, parts = prefix .. 'own:' .. node .. ':' .. topic, {}, {header}
if whole == '1' then
  local kept, all = {}, redis.call('HGETALL', own)
  for i = 6, #ARGV, 3 do kept[ARGV[i + 1]] = true end
  for i = 1, #all, 2 do
    if not kept[all[i]] then
      redis.call('HDEL', own, all[i])
      parts[#parts + 1] = item('l') .. item(all[i]) .. item(all[i + 1])
    end
  end
end
for i = 6, #ARGV, 3 do
  local member, info = ARGV[i + 1], ARGV[i + 2]
  local old = redis.call('HGET', own, member)
  if ARGV[i] == '-' then
    if old then
      redis.call('HDEL', own, member)
      parts[#parts + 1] = item('l') .. item(member) .. item(old)
    end
  elseif old ~= info then
    redis.call('HSET', own, member, info)
    parts[#parts + 1] = item(old and 'u' or 'j') .. item(member) .. item(info)
  end
end
if redis.call('EXISTS', own) == 1 then
  redis.call('SADD', prefix .. 'of:' .. node, topic)
  redis.call('SADD', prefix .. 'on:' .. topic, node)
  redis.call('SADD', prefix .. 'topics', topic)
else
  tidy(prefix, node, topic)
end
if #parts > 1 then redis.call('PUBLISH', prefix .. 't:' .. topic, table.concat(parts)) end
return 1
"""
)
"""Change a node's members on a topic, and tell: prefix, node, topic, header, 1 where all others are to go, then of each ``+`` or
``-``, member, info. Returns 0, having done nothing, where the node's lease has ended."""

_LIVE = """
local function live(prefix, topic)
  local nodes = {}
  for _, node in ipairs(redis.call('SMEMBERS', prefix .. 'on:' .. topic)) do
    if redis.call('EXISTS', prefix .. 'node:' .. node) == 1 then nodes[#nodes + 1] = node end
  end
  return nodes
end
"""

MEMBERS = Script(
    _LIVE
    + """
local found = {}
for _, node in ipairs(live(ARGV[1], ARGV[2])) do
  found[#found + 1] = {node, redis.call('HGETALL', ARGV[1] .. 'own:' .. node .. ':' .. ARGV[2])}
end
return found
"""
)
"""List a topic's members: prefix, topic. Returns each node with its hash."""

COUNTS = Script(
    _LIVE
    + """
local counts = {}
for i = 2, #ARGV do
  local count = 0
  for _, node in ipairs(live(ARGV[1], ARGV[i])) do
    count = count + redis.call('HLEN', ARGV[1] .. 'own:' .. node .. ':' .. ARGV[i])
  end
  counts[#counts + 1] = count
end
return counts
"""
)
"""Count the members of topics: prefix, topics."""

NODES = Script(
    """
local found = {}
for _, node in ipairs(redis.call('SMEMBERS', ARGV[1] .. 'nodes')) do
  local info = redis.call('GET', ARGV[1] .. 'node:' .. node)
  if info then
    found[#found + 1] = node
    found[#found + 1] = info
  end
end
return found
"""
)
"""List the nodes whose leases run: prefix. Returns each with what it says of itself."""

SCRIPTS = (SEND, PUBLISH, HISTORY, JOIN, BEAT, REAP, CHANGE, MEMBERS, COUNTS, NODES)
