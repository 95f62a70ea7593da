-- One store's quota, shared by processes: takes a report, answers with a grant.
--
-- KEYS[1]: the store's state, as JSON. ARGV: the process's name, its report as JSON, the patience with
-- a request that went alone, and how long slots are leased. All times are milliseconds, absolute ones
-- on this server's clock.

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local me, report = ARGV[1], cjson.decode(ARGV[2])
local patience, slot_lease = tonumber(ARGV[3]), tonumber(ARGV[4])
local lifetime = 60000

local function nothing_known()
  return {
    window = 0, limit = 0, left = 0, length = 0, opened_at = 0, resets_at = 0, margin = 0,
    others = false, looked_by = '', looked_until = 0, paused_until = 0, ceiling = 0,
    members = {},
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
local is_overloaded = report.pause > 0 and state.paused_until <= now
state.paused_until = math.max(state.paused_until, now + report.pause)
local opens_at = state.resets_at + state.margin

-- Where this process stands. What it leased for another window is void.
local before = state.members[me]
local mine = {
  at = now,
  slots = before and before.at > now - slot_lease and before.slots or 0,
  wanted_slots = report.slots,
  most = report.max_concurrent,
  short_since = before and before.short_since or 0,
  moved_at = before and before.moved_at or now,
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
local held, sent, unused, busy, processes = 0, 0, 0, 0, 0
for name, member in pairs(state.members) do
  if state.limit == 0 and member.at < now - lifetime then
    state.members[name] = nil -- no window's end does it here
  end
  held = held + member.in_flight + member.unused
  sent = sent + member.sent
  unused = unused + member.unused
  busy = busy + (member.busy and 1 or 0)
  processes = processes + 1
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

-- Slots: room for one request in flight each. Who has more than its part gives them up while another
-- has less than that; whoever has been short for longest gets the next. Where there are more processes
-- than slots, they take turns. Where they are told different limits, the lowest holds for all.
local function slots_for_me()
  local taken, wanting, others = 0, mine.wanted_slots > 0 and 1 or 0, {}
  local most = mine.most
  for name, member in pairs(state.members) do
    if name ~= me and member.at > now - slot_lease then
      table.insert(others, member)
      taken = taken + math.max(member.slots, member.in_flight)
      if member.wanted_slots > 0 then
        wanting, most = wanting + 1, math.min(most, member.most)
      end
    end
  end
  if is_overloaded then
    state.ceiling = math.max(1, (taken + math.max(mine.slots, mine.in_flight) + 1) / 2)
  elseif state.ceiling > 0 then
    state.ceiling = state.ceiling + report.answered / state.ceiling -- one more with each round
    if state.ceiling > most then
      state.ceiling = 0
    end
  end
  if state.ceiling > 0 then
    most = math.min(most, math.floor(state.ceiling))
  end
  local part = math.max(1, math.floor(most / math.max(1, wanting)))
  local function is_short(member)
    return member.slots < math.min(part, member.wanted_slots)
  end
  local i_am_short, are_short, come_first = is_short(mine), 0, 0
  for _, member in ipairs(others) do
    if is_short(member) then
      are_short = are_short + 1
      if not i_am_short or mine.short_since == 0 or member.short_since < mine.short_since then
        come_first = come_first + 1
      end
    end
  end
  local may_have = math.max(0, most - taken - come_first)
  if are_short > 0 then
    may_have = math.min(math.max(may_have, mine.slots), part)
    if wanting > most and mine.slots > 0 and now - mine.moved_at >= slot_lease then
      may_have = 0
    end
  end
  may_have = math.min(may_have, most - taken)
  local slots = math.max(0, math.min(mine.wanted_slots, may_have))
  if slots == 0 or mine.slots == 0 then
    mine.moved_at = now
  end
  mine.slots = slots
  mine.short_since = is_short(mine) and (mine.short_since > 0 and mine.short_since or now) or 0
  return slots
end
local slots = slots_for_me()

local known = state.window > 0 and (state.limit == 0 or now < opens_at)
local valid = known and (state.limit == 0 and lifetime or state.resets_at - now) or 0
local granted, alone, closed = 0, false, 0
if state.paused_until > now then
  closed = state.paused_until - now
elseif not known then
  alone = report.wanted > 0 and slots > mine.in_flight and now >= state.looked_until
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
  margin = state.margin, slots = slots, processes = processes,
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
