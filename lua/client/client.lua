-- require"smq.client": an SMQ client for scripts.
local attempt <const> = ...
local link <const> = require"smq.client.link"
local pack <const>, unpack <const> = string.pack, string.unpack

local KIND <const> = {
   SUBSCRIBE = 4, SUBACK = 5, CREATE = 6, CREATEACK = 7, PUBLISH = 8, UNSUBSCRIBE = 9, DISCONNECT = 11, PING = 12,
   PONG = 13, OBSERVE = 14, UNOBSERVE = 15, CHANGE = 16, CREATESUB = 17, CREATESUBACK = 18,
}
local MAX_PAYLOAD <const> = 0xFFF0
local MAX_NAME <const> = 60000
local MAX_CREDENTIALS <const> = 255
-- The greatest timeout, ping and pong: what a timer certainly can wait for.
local MAX_TIME <const> = 1000000000
-- Calls that wait for the number of a name.
local MAX_WAITING <const> = 1000
-- Time until a reconnect, and the shortest that an app may ask for, in ms.
local DELAY <const>, MIN_DELAY <const> = 5000, 1000

-- ---- Checking arguments ----

-- For the functions below, which the methods call themselves: the error is told of the line that called the method.
local function bad(method, position, name, why)
   error(("bad argument #%d '%s' to '%s' (%s)"):format(position, name, method, why), 4)
end

local function mismatch(expected, value) return expected .. " expected, got " .. type(value) end

-- A topic or sub-topic: a name or a 32 bit number.
local function check_name(method, position, name, value)
   if type(value) == "string" then
      if #value > MAX_NAME then bad(method, position, name, "longer than " .. MAX_NAME .. " bytes") end
   elseif type(value) ~= "number" then
      bad(method, position, name, mismatch("name or 32 bit number", value))
   elseif math.type(value) ~= "integer" or value < 0 or value > 0xFFFFFFFF then
      bad(method, position, name, "name or 32 bit number expected, got " .. value)
   end
end

local function check_function(method, position, name, value)
   if type(value) ~= "function" then bad(method, position, name, mismatch("function", value)) end
end

local function check_url(url)
   local parsed = type(url) == "string" and link.parse_url(url)
   if parsed then return parsed end
   local shown = type(url) == "string" and ("%q"):format(url:sub(1, 200)) or type(url)
   bad("client.create", 1, "url", "an http or https URL expected, got " .. shown)
end

local OPTIONS <const> = {
   uid = "string", info = "string", timeout = "number", ping = "number", pong = "number", trusted = "boolean",
   ca = "string", header = "table",
}

local function check_options(op)
   if type(op) ~= "table" then bad("client.create", 2, "op", mismatch("table", op)) end
   for name, expected in pairs(OPTIONS) do
      local value = op[name]
      if value ~= nil and type(value) ~= expected then
         bad("client.create", 2, "op", "field '" .. name .. "': " .. mismatch(expected, value))
      end
   end
   for _, name in ipairs{ "timeout", "ping", "pong" } do
      local value = op[name] or 1
      if not (value > 0 and value <= MAX_TIME) then
         local why = ("field '%s': number above 0, at most %d, expected, got %s"):format(name, MAX_TIME, value)
         bad("client.create", 2, "op", why)
      end
   end
   if op.uid and (#op.uid < 6 or #op.uid > 255) then
      bad("client.create", 2, "op", "field 'uid': 6 to 255 bytes expected, got " .. #op.uid)
   end
   if op.info and #op.info > MAX_NAME then
      bad("client.create", 2, "op", "field 'info': longer than " .. MAX_NAME .. " bytes")
   end
   for name, value in pairs(op.header or {}) do
      local text = type(name) == "string" and (type(value) == "string" or type(value) == "number")
      if not text or (name .. value):find"[%c]" or name:find"[^%w!#$%%&'*+.^_`|~-]" then
         bad("client.create", 2, "op", "field 'header': '" .. tostring(name) .. "' is no header")
      end
   end
end

-- ---- A client ----

local Client = {}
Client.__index = Client

-- What belongs to a client and is not for the app. Gone with the client.
local states = setmetatable({}, { __mode = "k" })

-- Names and their numbers, and who waits for a name's number.
local function new_names() return { number = {}, name = {}, waiting = {} } end

-- All that ends with a connection.
local function new_session(connection, welcome)
   return {
      link = connection, etid = welcome.etid, topics = new_names(), subtopics = new_names(),
      subscribing = {}, turns = {}, callbacks = {}, observers = {}, queue = {}, first = 1, last = 0,
   }
end

-- A line in the log; without the prefix of `trace`, which would name a line of this file.
local function log(text) tracep(false, 0, "smq.client: " .. text) end

-- Calls what the app has set, unless it has closed the client; an error is logged and harms nothing else.
local function call(client, what, f, ...)
   if not f or states[client].is_closed then return end
   local ok, result = attempt("smq.client: " .. what, f, ...)
   if ok then return result end
end

-- The connection of the client that a method was called on; nil while there is none.
local function session_of(method, client)
   local state = states[client]
   if not state then error(method .. ": call it with a colon, on what client.create has made", 3) end
   return state.session
end

-- Learns the number of a name and tells those who wait; nil if it was denied.
local function learn(names, name, number)
   if number then names.number[name], names.name[number] = number, name end
   local waiting = names.waiting[name] or {}
   names.waiting[name] = nil
   for _, f in ipairs(waiting) do f(number) end
end

-- Calls f(number) at once if the number is known, and when the server has told it otherwise; f(nil) if it is denied.
local function resolve(session, names, kind, name, f)
   if math.type(name) == "integer" then return f(name) end
   if names.number[name] then return f(names.number[name]) end
   local waiting = names.waiting[name]
   if waiting then
      waiting[#waiting + 1] = f
   else
      names.waiting[name] = { f }
      session.link:send(kind, name)
   end
end

local function resolve_topic(session, topic, f)
   if topic == "self" then return f(session.etid) end
   resolve(session, session.topics, KIND.CREATE, topic, f)
end

local function resolve_subtopic(session, subtopic, f)
   resolve(session, session.subtopics, KIND.CREATESUB, subtopic or 0, f)
end

-- ---- Publishing: messages leave in the order of the calls, also while names are still unknown ----

local function send_ready(session)
   local queue = session.queue
   while session.first <= session.last do
      local message = queue[session.first]
      if not message.settled then return end
      queue[session.first], session.first = nil, session.first + 1
      if message.tid and message.subtid then
         local head = pack(">I4I4I4", message.tid, session.etid, message.subtid)
         message.is_lost = not session.link:send(KIND.PUBLISH, head .. message.payload)
      end
   end
end

-- False if the message is known to be lost.
local function enqueue(session, topic, subtopic, payload)
   local message = { payload = payload }
   session.last = session.last + 1
   session.queue[session.last] = message
   resolve_topic(session, topic, function(tid)
      message.tid = tid
      resolve_subtopic(session, subtopic, function(subtid)
         message.subtid, message.settled = subtid, true
         if not (tid and subtid) then
            log("a message to " .. topic .. (subtopic and " " .. subtopic or "") .. " is lost: the name is denied")
         end
         send_ready(session)
      end)
   end)
   return not message.is_lost
end

-- The bytes that travel.
local function check_payload(data)
   local payload = type(data) == "table" and ba.json.encode(data) or data
   if type(payload) ~= "string" then bad("client:publish", 1, "data", mismatch("string or table", data)) end
   if #payload <= MAX_PAYLOAD then return payload end
   bad("client:publish", 1, "data", ("at most %d bytes expected, got %d"):format(MAX_PAYLOAD, #payload))
end

-- publish(data, topic [, subtopic]): false while not connected, or while too many messages wait for unknown names or for a
-- server that does not read.
function Client:publish(data, topic, subtopic)
   local session = session_of("client:publish", self)
   local payload = check_payload(data)
   check_name("client:publish", 2, "topic", topic)
   if subtopic ~= nil then check_name("client:publish", 3, "subtopic", subtopic) end
   if not session or session.last - session.first >= MAX_WAITING then return false end
   return enqueue(session, topic, subtopic, payload)
end

-- ---- Names ----

-- create(topic [, subtopic], onack): onack(accepted, topic, tid [, subtopic, subtid]). False while not connected.
function Client:create(topic, subtopic, onack)
   local session = session_of("client:create", self)
   check_name("client:create", 1, "topic", topic)
   if onack == nil then subtopic, onack = nil, subtopic end
   if onack ~= nil then check_function("client:create", subtopic and 3 or 2, "onack", onack) end
   if subtopic ~= nil then check_name("client:create", 2, "subtopic", subtopic) end
   if not session then return false end
   resolve_topic(session, topic, function(tid)
      if not subtopic then return call(self, "onack", onack, tid ~= nil, topic, tid or 0) end
      resolve_subtopic(session, subtopic, function(subtid)
         call(self, "onack", onack, tid ~= nil and subtid ~= nil, topic, tid or 0, subtopic, subtid or 0)
      end)
   end)
   return true
end

-- createsub(subtopic, onack): onack(accepted, subtopic, subtid). False while not connected.
function Client:createsub(subtopic, onack)
   local session = session_of("client:createsub", self)
   check_name("client:createsub", 1, "subtopic", subtopic)
   if onack ~= nil then check_function("client:createsub", 2, "onack", onack) end
   if not session then return false end
   resolve_subtopic(session, subtopic, function(subtid) call(self, "onack", onack, subtid ~= nil, subtopic, subtid or 0) end)
   return true
end

-- ---- Subscriptions ----

-- A topic is kept under its name, an own etid as "self".
local function key_of(session, topic)
   if topic == session.etid then return "self" end
   return session.topics.name[topic] or topic
end

-- Runs `act` when the subscribes of the topic that were called before are answered, if it has to wait for them (`waits`),
-- and behind those that do so already.
local function in_turn(session, key, waits, act)
   local turn = session.turns[key]
   if turn and (waits or turn[1]) then
      turn[#turn + 1] = { waits = waits, act = act }
   else
      act()
   end
end

local function begin_turn(session, key)
   local turn = session.turns[key] or { unanswered = 0 }
   session.turns[key], turn.unanswered = turn, turn.unanswered + 1
   return turn
end

local function end_turn(session, key, turn)
   turn.unanswered = turn.unanswered - 1
   if turn.unanswered > 0 then return end
   session.turns[key] = nil
   for _, held in ipairs(turn) do in_turn(session, key, held.waits, held.act) end
end

-- Registers the callback of (tid, subtid); a subtid of 0 stands for all that have no callback of their own.
local function listen(session, tid, subtid, settings)
   if not settings.onmsg then return end
   session.callbacks[tid] = session.callbacks[tid] or {}
   session.callbacks[tid][subtid] = settings
end

-- A number is subscribed by its name: the protocol knows no other way.
local function subscribe(session, name, f)
   if name == "self" then return f(session.etid) end
   if type(name) ~= "string" then return f(nil) end
   local waiting = session.subscribing[name] or {}
   session.subscribing[name] = waiting
   waiting[#waiting + 1] = f
   session.link:send(KIND.SUBSCRIBE, name)
end

local function check_settings(settings)
   if type(settings) ~= "table" then bad("client:subscribe", 2, "settings", mismatch("table", settings)) end
   for _, name in ipairs{ "onmsg", "onack" } do
      local value = settings[name]
      if value ~= nil and type(value) ~= "function" then
         bad("client:subscribe", 2, "settings", "field '" .. name .. "': " .. mismatch("function", value))
      end
   end
end

-- subscribe(topic [, subtopic] [, {onmsg=, datatype=, onack=}]); "self" and the sub-topics of a topic alike. False while
-- not connected.
function Client:subscribe(topic, subtopic, settings)
   local session = session_of("client:subscribe", self)
   check_name("client:subscribe", 1, "topic", topic)
   if type(subtopic) == "table" then subtopic, settings = nil, subtopic end
   settings = settings or {}
   check_settings(settings)
   if subtopic ~= nil then check_name("client:subscribe", 2, "subtopic", subtopic) end
   if not session then return false end
   local key = key_of(session, topic)
   in_turn(session, key, false, function()
      local turn = begin_turn(session, key)
      -- The sub-topic first: its answer is here when the topic's first message comes. If it is denied, so is the whole.
      resolve_subtopic(session, subtopic, function(subtid)
         local function answer(tid)
            if tid then listen(session, tid, subtid, settings) end
            if subtopic then
               call(self, "onack", settings.onack, tid ~= nil, topic, tid or 0, subtopic, subtid or 0)
            else
               call(self, "onack", settings.onack, tid ~= nil, topic, tid or 0)
            end
            end_turn(session, key, turn)
         end
         if not subtid then return answer(nil) end
         subscribe(session, key, answer)
      end)
   end)
   return true
end

local function known(session, topic)
   if topic == "self" then return session.etid end
   return math.type(topic) == "integer" and topic or session.topics.number[topic]
end

-- unsubscribe(topic): removes all its callbacks, also those of subscribes that are not answered yet. False while not
-- connected, and for a name that nobody has asked for.
function Client:unsubscribe(topic)
   local session = session_of("client:unsubscribe", self)
   check_name("client:unsubscribe", 1, "topic", topic)
   local key = session and key_of(session, topic)
   if not key or not known(session, key) and not session.turns[key] then return false end
   in_turn(session, key, true, function()
      local tid = known(session, key)
      if not tid then return end
      session.callbacks[tid] = nil
      if tid ~= session.etid then session.link:send(KIND.UNSUBSCRIBE, pack(">I4", tid)) end
   end)
   return true
end

-- ---- Observing ----

-- observe(topic, onchange): onchange(subscribers, topic); of an etid a single onchange(0, etid) when it ends.
function Client:observe(topic, onchange)
   local session = session_of("client:observe", self)
   check_name("client:observe", 1, "topic", topic)
   check_function("client:observe", 2, "onchange", onchange)
   if not session then return false end
   resolve_topic(session, topic, function(tid)
      if not tid then return log("cannot observe " .. topic .. ": the name is denied") end
      session.observers[tid] = { onchange = onchange, topic = topic }
      session.link:send(KIND.OBSERVE, pack(">I4", tid))
   end)
   return true
end

-- unobserve(topic): false while not connected, and for a name that nobody has asked for.
function Client:unobserve(topic)
   local session = session_of("client:unobserve", self)
   check_name("client:unobserve", 1, "topic", topic)
   if not session or not known(session, topic) and not session.topics.waiting[topic] then return false end
   resolve_topic(session, topic, function(tid)
      if not tid then return end
      session.observers[tid] = nil
      session.link:send(KIND.UNOBSERVE, pack(">I4", tid))
   end)
   return true
end

-- gettid(): the own etid; nil while not connected.
function Client:gettid()
   local session = session_of("client:gettid", self)
   return session and session.etid
end

-- close(): for good. No callback is called any more.
function Client:close()
   local session = session_of("client:close", self)
   local state = states[self]
   state.is_closed, state.session = true, nil
   if not session then return end
   session.link:send(KIND.DISCONNECT, "")
   session.link:close()
end

-- ---- What the server sends ----

local handlers = {}

-- An answer to nobody is passed over: a server could make the client remember names without end.
local function handle_ack(names, body)
   if #body < 5 then return end
   local denied, number, at = unpack(">BI4", body)
   local name = body:sub(at)
   if names.waiting[name] then learn(names, name, denied == 0 and number or nil) end
end

handlers[KIND.CREATEACK] = function(_, session, body) handle_ack(session.topics, body) end
handlers[KIND.CREATESUBACK] = function(_, session, body) handle_ack(session.subtopics, body) end

handlers[KIND.SUBACK] = function(_, session, body)
   if #body < 5 then return end
   local denied, number, at = unpack(">BI4", body)
   local name, tid = body:sub(at), denied == 0 and number or nil
   local waiting = session.subscribing[name]
   if not waiting then return end
   if tid then learn(session.topics, name, tid) end
   local f = table.remove(waiting, 1)
   if #waiting == 0 then session.subscribing[name] = nil end
   f(tid)
end

handlers[KIND.PUBLISH] = function(client, session, body)
   if #body < 12 then return end
   local tid, ptid, subtid, at = unpack(">I4I4I4", body)
   local payload = body:sub(at)
   local callbacks = session.callbacks[tid] or {}
   local settings = callbacks[subtid] or callbacks[0]
   if settings then
      local data = payload
      if settings.datatype == "json" then data = ba.json.decode(payload) end
      if data ~= nil then return call(client, "onmsg", settings.onmsg, data, ptid, tid, subtid) end
   end
   call(client, "onmsg", client.onmsg, payload, ptid, tid, subtid)
end

handlers[KIND.CHANGE] = function(client, session, body)
   if #body < 8 then return end
   local tid, subscribers = unpack(">I4I4", body)
   local observer = session.observers[tid]
   if not observer then return end
   -- An etid never has subscribers: the first thing to hear of it is the 0 that ends the observation.
   observer.is_topic = observer.is_topic or subscribers > 0 or session.topics.name[tid] ~= nil
   if not observer.is_topic then session.observers[tid] = nil end
   call(client, "onchange", observer.onchange, subscribers, observer.topic)
end

handlers[KIND.PING] = function(_, session) session.link:send(KIND.PONG, "") end

-- The next packet. A silent server is asked whether it is still there.
local function next_packet(session, op)
   local kind, body = session.link:read(op.ping * 1000)
   if kind or body ~= "timeout" then return kind, body end
   -- In a coroutine of its own: a server that does not read would make this one wait, and never be given up.
   ba.socket.event(session.link.send, session.link, KIND.PING, "")
   kind, body = session.link:read(op.pong * 1000)
   if not kind and body == "timeout" then body = "the server does not answer a ping" end
   return kind, body
end

-- Handles packets until the connection ends: why, and whether to reconnect makes sense. A callback may have closed the
-- client, and then what has been read already is nobody's.
local function serve(client, session, op)
   while not states[client].is_closed do
      local kind, body = next_packet(session, op)
      if not kind then return body, true end
      if kind == KIND.DISCONNECT then return body ~= "" and body or "disconnect", false end
      local handler = handlers[kind]
      if handler then handler(client, session, body) end
   end
end

-- ---- Connecting, again and again ----

-- What onauth gave, as text; or nil and why that cannot be sent.
local function credentials_from(given)
   if given == nil then return "" end
   if type(given) ~= "string" and type(given) ~= "number" then return nil, "onauth gave a " .. type(given) .. ", no text" end
   local text = tostring(given)
   if #text <= MAX_CREDENTIALS then return text end
   return nil, ("onauth gave %d bytes, and credentials have at most %d"):format(#text, MAX_CREDENTIALS)
end

-- What onauth gives; or nil and why there is nothing. To go on without credentials would be to come as somebody else.
local function credentials_of(client, seed, address)
   if not client.onauth then return "" end
   local ok, given = attempt("smq.client: onauth", client.onauth, seed, address)
   if not ok then return nil, "onauth: " .. given end
   local text, why = credentials_from(given)
   if not text then log(why) end
   return text, why
end

local function connect_and_serve(client, state)
   local function credentials(seed, address)
      if state.is_closed then return nil, "closed" end
      return credentials_of(client, seed, address)
   end
   local connection, welcome, canreconnect = link.open(state.url, state.op, credentials)
   if state.is_closed then
      if connection then connection:close() end
      return
   end
   if not connection then return welcome, canreconnect end
   local session = new_session(connection, welcome)
   state.session = session
   local greet = state.was_connected and client.onreconnect or client.onconnect
   state.was_connected = true
   call(client, "onconnect", greet, welcome.etid, welcome.seed, welcome.address)
   local why
   why, canreconnect = serve(client, session, state.op)
   connection:close()
   state.session = nil
   return why, canreconnect
end

-- Milliseconds until the next try; nil for none.
local function delay(answer, canreconnect)
   if not canreconnect then return nil end
   if answer == true then return DELAY end
   if not math.type(answer) then return nil end
   return answer > MIN_DELAY and answer or MIN_DELAY -- In this order also for NaN, which is greater than nothing.
end

local function run(client, state)
   while not state.is_closed do
      local why, canreconnect = connect_and_serve(client, state)
      if state.is_closed then return end
      local wait = delay(call(client, "onclose", client.onclose, why, canreconnect), canreconnect)
      if not wait then
         state.is_closed = true
         return
      end
      ba.sleep(wait)
   end
end

local M = {}

-- create(url [, op]): starts to connect. The callbacks are fields to be set right after; lua/types/client.lua has them all.
function M.create(url, op)
   local parsed = check_url(url)
   op = op == nil and {} or op
   check_options(op)
   local settings = {
      uid = op.uid, info = op.info, timeout = op.timeout or 5000, ping = op.ping or 120, pong = op.pong or 10,
      trusted = op.trusted, ca = op.ca, header = op.header,
   }
   local client = setmetatable({}, Client)
   local state = { url = parsed, op = settings, is_closed = false, was_connected = false }
   states[client] = state
   ba.socket.event(run, client, state)
   return client
end

return M
