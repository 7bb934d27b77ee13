"""What a Redis log does in one step: append with a moment that always grows, seal, commit."""

# The moment always grows, whichever clock an appender has: what is known at a moment is a beginning of the log.
APPEND = """
local last_us, held = 0, 0
local found = redis.pcall('XINFO', 'STREAM', KEYS[1])
if not found.err then
    for i = 1, #found, 2 do
        if found[i] == 'last-generated-id' then
            local us, seq = string.match(found[i + 1], '(%d+)-(%d+)')
            last_us = tonumber(us)
        elseif found[i] == 'length' then held = found[i + 1] end
    end
end
if held + #ARGV - 3 > tonumber(ARGV[2]) then return redis.error_reply('LOGFULL ' .. held) end
local ids = {}
for i = 4, #ARGV do
    local us, seq = tonumber(ARGV[1]), 0
    if us <= last_us then us = last_us + 1 end
    local id = string.format('%.0f-%d', us, seq)
    redis.call('XADD', KEYS[1], id, 's', ARGV[3], 'p', ARGV[i])
    last_us, ids[#ids + 1] = us, id
end
return ids
"""
SEAL = """
local us = tonumber(ARGV[1])
local found = redis.pcall('XINFO', 'STREAM', KEYS[1])
if found.err then
    redis.call('XADD', KEYS[1], ARGV[1] .. '-0', 's', '', 'p', '')
    redis.call('XDEL', KEYS[1], ARGV[1] .. '-0')
    return 1
end
for i = 1, #found, 2 do
    if found[i] == 'last-generated-id' and tonumber(string.match(found[i + 1], '%d+')) < us then
        redis.call('XSETID', KEYS[1], ARGV[1] .. '-0')
        return 1
    end
end
return 0
"""
COMMIT = """
local before = redis.call('HGET', KEYS[1], ARGV[1])
if not before or before < ARGV[2] then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
return 1
"""
