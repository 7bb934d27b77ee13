"""The scripts that write a row or a heartbeat: the newest (event time, known at) wins, whoever writes."""

import hashlib

# Answers: 0 refused, because what is there is newer or of the same moment; 1 written; 2 there already, byte by byte.
# A mark begins like a packed row: four bytes, event time, known at. Numbers of Lua hold 53 bits, so it is halves that
# are compared. Where Feast's stock store wrote last there is no mark of that event time: then its time alone counts.
WRITE = """
local function time(bytes)
  local at, found = 1, {0, 0}
  while at <= #bytes do
    local tag, sum, less, unit, length = string.byte(bytes, at), 0, 0, 1, 0
    repeat
      at, length = at + 1, length + 1
      local byte = string.byte(bytes, at)
      if length < 10 then
        sum, less, unit = sum + byte % 128 * unit, less + (127 - byte % 128) * unit, unit * 128
      end
    until byte < 128
    at = at + 1
    found[tag == 8 and 1 or 2] = length == 10 and -less - 1 or sum
  end
  return found[1], found[2]
end
local held = redis.call('HMGET', KEYS[1], ARGV[3], ARGV[5])
local mark, stamp = held[1], held[2]
if stamp == ARGV[6] then
  if mark and string.sub(mark, 5, 12) == string.sub(ARGV[4], 5, 12) then
    if mark == ARGV[4] and #mark > 28 then return 2 end
    local low, high = struct.unpack('<I4i4', mark, 13)
    local LOW, HIGH = struct.unpack('<I4i4', ARGV[4], 13)
    if HIGH < high or HIGH == high and (LOW < low or LOW == low and ARGV[1] == '0') then return 0 end
  end
elseif stamp then
  local seconds, nanos = time(stamp)
  local SECONDS, NANOS = time(ARGV[6])
  if SECONDS < seconds or SECONDS == seconds and NANOS < nanos then return 0 end
end
for first = 3, #ARGV, 4000 do
  redis.call('HSET', KEYS[1], unpack(ARGV, first, math.min(first + 3999, #ARGV)))
end
if ARGV[2] ~= '0' then redis.call('EXPIRE', KEYS[1], ARGV[2]) end
return 1
"""


# The stream's heartbeat never goes back, whichever runner sends it.
HEARTBEAT = """
local held = redis.call('HGET', KEYS[1], 'applied')
if held and tonumber(held) > tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'applied', ARGV[1], 'position', ARGV[2])
return 1
"""
WRITE_SHA = hashlib.sha1(WRITE.encode(), usedforsecurity=False).hexdigest().encode()
