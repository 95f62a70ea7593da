-- One store's quota, shared by processes: takes a report, answers with a grant.
--
-- KEYS[1]: the store's state, as JSON. ARGV: the process's name, its report as JSON, and the patience
-- with a request that went alone. All times are milliseconds, absolute ones on this server's clock.

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local me, report = ARGV[1], cjson.decode(ARGV[2])
local patience = tonumber(ARGV[3])
local lifetime = 60000

local function nothing_known()
  return {
    window = 0, limit = 0, left = 0, length = 0, opened_at = 0, resets_at = 0, margin = 0,
    others = false, looked_by = '', looked_until = 0, paused_until = 0, members = {},
  }
end

local saved = redis.call('GET', KEYS[1])
local state = saved and cjson.decode(saved) or nothing_known()
if state.resets_at > now + state.length + report.margin or state.paused_until > now + 120000 then
  state = nothing_known() -- the clock was set back
end

local function turn(told)
  for name, member in pairs(state.members) do
    if member.at < state.resets_at then
      state.members[name] = nil -- not heard of since: it may be dead
    else
      member.sent, member.unused = member.in_flight, 0
    end
  end
  state.window = math.max(now, state.window + 1)
  state.limit, state.left, state.length = told.limit, told.left, told.length
  state.opened_at, state.resets_at = now, told.limit > 0 and now + told.reset or 0
  state.margin, state.others, state.looked_until = 0, false, 0
end

-- What the answers told: of this window, of a new one, or too late.
local is_of_this_window = report.window == state.window
local told = report.told
if told then
  local resets_at = now + told.reset
  if state.limit == 0 or resets_at > state.resets_at + told.length / 2 then
    turn(told)
    is_of_this_window = true
  elseif resets_at >= state.resets_at - told.length / 2 then
    state.left = told.limit == state.limit and math.min(state.left, told.left) or told.left
    state.limit, state.length = told.limit, told.length
    state.resets_at = math.min(state.resets_at, resets_at)
    is_of_this_window = true
  end
elseif report.is_free
  and (state.window == 0 or state.limit > 0 and now >= state.resets_at + state.margin) then
  turn({ limit = 0, left = 0, length = 0 })
end
state.margin = math.max(state.margin, report.margin)
state.paused_until = math.max(state.paused_until, now + report.pause)
local opens_at = state.resets_at + state.margin

-- Where this process stands. What it leased for another window is void.
local mine = {
  at = now,
  sent = is_of_this_window and report.sent or report.in_flight,
  in_flight = report.in_flight,
  unused = report.window == state.window and report.unused or 0,
  busy = report.busy,
}
state.members[me] = mine
if state.looked_by == me and mine.in_flight + mine.unused == 0 then
  state.looked_until = 0 -- its request came to nothing
end

-- Where all of them stand.
local held, sent, unused, busy = 0, 0, 0, 0
for name, member in pairs(state.members) do
  if state.limit == 0 and member.at < now - lifetime then
    state.members[name] = nil -- no window's end does it here
  end
  held = held + member.in_flight + member.unused
  sent = sent + member.sent
  unused = unused + member.unused
  busy = busy + (member.busy and 1 or 0)
end
local budget = math.max(1, math.floor(state.limit * report.share))
local room, free = math.huge, math.huge
if state.limit > 0 then
  state.others = state.others or state.left + sent + unused < state.limit
  -- Only as many may be in flight as are left, and of other apps' requests as many may be unseen.
  room = (state.others and math.ceil(state.left / 2) or state.left) - held
  free = budget - sent - unused
end

-- What this process may have, so that the others get their fair parts too: all of these are kept for
-- them at first, and nothing any more after half of the time.
local function fair()
  local elapsed = (now - state.opened_at) / (state.resets_at - state.opened_at)
  local part = math.floor(budget / busy * math.min(1, math.max(0, 2 - 4 * elapsed)))
  local kept = 0
  for name, member in pairs(state.members) do
    if name ~= me and member.busy then
      kept = kept + math.max(0, part - member.sent - member.unused)
    end
  end
  local missing = math.max(0, part - mine.sent - mine.unused)
  if kept + missing <= free then
    return free - kept
  end
  return math.ceil(free * missing / (kept + missing)) -- not enough is left for all of them
end

local known = state.window > 0 and (state.limit == 0 or now < opens_at)
local valid = known and (state.limit == 0 and lifetime or state.resets_at - now) or 0
local granted, alone, closed = 0, false, 0
if state.paused_until > now then
  closed = state.paused_until - now
elseif not known then
  alone = report.wanted > 0 and now >= state.looked_until
  if alone then
    granted, valid = 1, patience
    state.looked_by, state.looked_until = me, now + patience
  end
elseif state.limit == 0 then
  granted = report.wanted
elseif now >= state.resets_at or state.left <= 0 or sent >= budget then
  closed = opens_at - now
elseif report.wanted > 0 then
  local lease = math.max(1, math.floor(math.min(room, free) / busy))
  granted = math.max(0, math.min(report.wanted, lease, room, free, fair()))
end
mine.unused = mine.unused + granted

local kept_for = math.max(lifetime, 2 * state.length, state.paused_until - now)
redis.call('SET', KEYS[1], cjson.encode(state), 'PX', kept_for)
local grant = {
  window = state.window, granted = granted, valid = valid, alone = alone, known = known, busy = busy,
  closed = closed, pause = math.max(0, state.paused_until - now), part = 0,
  margin = state.margin,
}
if known and state.limit > 0 then
  grant.part = math.max(0, math.floor((math.min(room, free) - granted) / math.max(1, busy)))
end
if state.limit > 0 then
  grant.quota = {
    limit = state.limit, left = state.left, length = state.length, reset = state.resets_at - now,
  }
end
return cjson.encode(grant)
