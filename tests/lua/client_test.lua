-- require"smq.client" against the hub of .preload; what other servers may do to it is in tests/client.rs.
local client <const> = require"smq.client"

local url <const> = server.url .. "/client-hub/"

-- The value of an expression on the server, where `hub` is and what it knows of its clients in `infos`.
local function on_server(expression, ...)
   return ba.json.decode(server.post("/client-hub/", { expression = expression:format(...) }).body)[1]
end

-- A client that is connected.
local function connected(op)
   local smq = client.create(url, op)
   local is_connected = false
   function smq.onconnect() is_connected = true end
   eventually(function() return is_connected end, "the connection")
   return smq
end

-- A function to be called back, and one that waits for its next call and gives what it got.
local function called()
   local calls, seen = {}, 0
   local function wait()
      eventually(function() return #calls > seen end, "a callback")
      seen = seen + 1
      return table.unpack(calls[seen], 1, calls[seen].n)
   end
   return function(...) calls[#calls + 1] = table.pack(...) end, wait, calls
end

test("onconnect gets the etid, the seed and the own address", function()
   local smq, wait = client.create(url, { uid = "the client", info = "its info" })
   smq.onconnect, wait = called()
   local etid, seed, address = wait()
   same(smq:gettid(), etid)
   same(math.type(seed), "integer")
   same(address, "127.0.0.1")
   same(on_server("infos[%d]", etid), { uid = "the client", info = "its info", seed = seed, credentials = "" })
end)

test("headers of the app's own go with the request", function()
   local smq = connected{ header = { ["X-Token"] = "open sesame" } }
   same(on_server("infos[%d].token", smq:gettid()), "open sesame")
   smq:close()
end)

test("onauth gives the credentials, and a refusal is final", function()
   local smq, wait = client.create(url)
   local seen
   function smq.onauth(seed, address) seen = { math.type(seed), address } return "wrong" end
   smq.onclose, wait = called()
   same(table.pack(wait()), { "no entry", false, n = 2 })
   same(seen, { "integer", "127.0.0.1" })
   same(smq:gettid(), nil)
end)

test("whatever can be called is a callback", function()
   local smq, called_with = client.create(url)
   smq.onconnect = setmetatable({}, { __call = function(_, etid) called_with = etid end })
   eventually(function() return called_with end, "the connection")
   same(called_with, smq:gettid())
   smq:close()
end)

test("without what onauth was to give there is no connection", function()
   for _, case in ipairs{
      { function() return ("x"):rep(256) end, "onauth gave 256 bytes, and credentials have at most 255" },
      { function() return {} end, "onauth gave a table, no text" },
      { function() error("no key", 0) end, "onauth: no key" },
   } do
      local smq, wait = client.create(url)
      smq.onauth = case[1]
      smq.onclose, wait = called()
      smq.onconnect = smq.onclose
      same(table.pack(wait()), { case[2], false, n = 2 })
   end
   for _, fits in ipairs{ ("x"):rep(255), 1234 } do
      local smq, wait = client.create(url)
      function smq.onauth() return fits end
      smq.onconnect, wait = called()
      same(on_server("infos[%d].credentials", wait()), tostring(fits))
      smq:close()
   end
end)

test("before it is connected nothing is sent", function()
   local smq = client.create(url)
   same(smq:publish("x", "client/early"), false)
   same(smq:create("client/early", print), false)
   same(smq:createsub("client/early", print), false)
   same(smq:subscribe("client/early", { onmsg = print }), false)
   same(smq:observe("client/early", print), false)
   same(smq:unsubscribe"client/early", false)
   same(smq:unobserve"client/early", false)
   same(smq:gettid(), nil)
   same(on_server'hub:topic2tid"client/early"', nil)
   smq:close()
end)

test("a message reaches the subscriber with its publisher, topic and sub-topic", function()
   local sender, receiver = connected(), connected()
   local onmsg, message = called()
   local onack, ack = called()
   receiver:subscribe("client/one", { onmsg = onmsg, onack = onack })
   local accepted, topic, tid = ack()
   same({ accepted, topic, tid }, { true, "client/one", on_server'hub:topic2tid"client/one"' })
   same(sender:publish("hello", "client/one"), true)
   same(table.pack(message()), { "hello", sender:gettid(), tid, 0, n = 4 })
   sender:publish("again", tid, "sub")
   same(table.pack(message()), { "again", sender:gettid(), tid, on_server'hub:subtopic2tid"sub"', n = 4 })
end)

test("a sub-topic's callback comes before the topic's, and onmsg is the last", function()
   local smq = connected()
   local onsub, sub = called()
   local onall, all = called()
   local onack, ack = called()
   local rest
   smq.onmsg, rest = called()
   smq:subscribe("client/levels", "special", { onmsg = onsub, onack = onack })
   local accepted, topic, tid, subtopic, subtid = ack()
   same({ accepted, topic, subtopic, tid, subtid },
      { true, "client/levels", "special", on_server'hub:topic2tid"client/levels"', on_server'hub:subtopic2tid"special"' })
   smq:publish("1", "client/levels", "special")
   same(sub(), "1")
   smq:publish("2", "client/levels")
   same(rest(), "2")
   smq:subscribe("client/levels", { onmsg = onall })
   smq:publish("3", "client/levels", "other")
   same(all(), "3")
end)

test("messages to the own etid arrive with and without a subscription", function()
   local smq, other = connected(), connected()
   local rest
   smq.onmsg, rest = called()
   other:publish("direct", smq:gettid())
   same(rest(), "direct")
   local onmsg, message = called()
   local onack, ack = called()
   smq:subscribe("self", { onmsg = onmsg, onack = onack })
   same(table.pack(ack()), { true, "self", smq:gettid(), n = 3 })
   other:publish("again", smq:gettid())
   same(table.pack(message()), { "again", other:gettid(), smq:gettid(), 0, n = 4 })
end)

test("tables travel as JSON, and what is no JSON goes to onmsg", function()
   local smq = connected()
   local onmsg, message = called()
   local rest
   smq.onmsg, rest = called()
   smq:subscribe("client/json", { onmsg = onmsg, datatype = "json" })
   smq:publish({ a = { 1, 2 } }, "client/json")
   same((message()), { a = { 1, 2 } })
   smq:publish("no json", "client/json")
   same(rest(), "no json")
end)

test("messages to new names leave in the order of the calls", function()
   local smq, got = connected(), {}
   smq:subscribe("client/order", { onmsg = function(data) got[#got + 1] = data end })
   for i = 1, 5 do smq:publish("" .. i, "client/order", i % 2 == 0 and "sub" .. i or nil) end
   eventually(function() return #got == 5 end, "five messages")
   same(table.concat(got), "12345")
end)

test("names are created, and denied", function()
   local smq = connected()
   local onack, ack = called()
   smq:create("client/made", onack)
   same(table.pack(ack()), { true, "client/made", on_server'hub:topic2tid"client/made"', n = 3 })
   smq:create("client/made", "part", onack)
   same(table.pack(ack()),
      { true, "client/made", on_server'hub:topic2tid"client/made"', "part", on_server'hub:subtopic2tid"part"', n = 5 })
   smq:createsub("part", onack)
   same(table.pack(ack()), { true, "part", on_server'hub:subtopic2tid"part"', n = 3 })
   smq:create("forbidden", onack)
   same(table.pack(ack()), { false, "forbidden", 0, n = 3 })
   smq:createsub("forbidden", onack)
   same(table.pack(ack()), { false, "forbidden", 0, n = 3 })
   smq:subscribe("forbidden", { onack = onack })
   same(table.pack(ack()), { false, "forbidden", 0, n = 3 })
   smq:publish("lost", "forbidden")
   smq:publish("lost", "client/made", "forbidden")
   smq:create("client/after", onack)
   same(ack(), true)
end)

test("where the sub-topic is denied there is no subscription", function()
   local smq = connected()
   local onack, ack = called()
   smq:subscribe("client/partly", "forbidden", { onmsg = print, onack = onack })
   same(table.pack(ack()), { false, "client/partly", 0, "forbidden", 0, n = 5 })
   smq:create("client/partly", onack)
   ack()
   same(on_server("hub:etid2peer(%d).topics or false", smq:gettid()), false)
end)

test("an unsubscribed topic is silent", function()
   local smq = connected()
   local onmsg, message, calls = called()
   smq:subscribe("client/quiet", { onmsg = onmsg })
   smq:publish("1", "client/quiet")
   message()
   same(smq:unsubscribe"client/quiet", true)
   smq:publish("2", "client/quiet")
   local onack, ack = called()
   smq:create("client/later", onack)
   ack()
   same(#calls, 1)
end)

test("calls for one topic take effect in their order, answered or not", function()
   local smq = connected()
   local got = {}
   local function hear(what) return { onmsg = function(data) got[#got + 1] = what .. data end } end
   local function round_trip()
      local onack, ack = called()
      smq:create("client/round trip" .. math.random(1 << 50), onack)
      ack()
   end
   same(smq:unsubscribe"client/turns", false)
   smq:subscribe("client/turns", "a new sub-topic", hear"first")
   same(smq:unsubscribe"client/turns", true)
   round_trip()
   round_trip()
   same(on_server("hub:etid2peer(%d).topics or false", smq:gettid()), false)
   smq:subscribe("client/turns", hear"second")
   same(smq:unsubscribe"client/turns", true)
   smq:subscribe("client/turns", hear"third")
   smq:subscribe("client/turns", "a newer sub-topic", hear"fourth")
   round_trip()
   round_trip()
   smq:publish("1", "client/turns")
   smq:publish("2", "client/turns", "a newer sub-topic")
   eventually(function() return #got == 2 end, "both messages")
   same(got, { "third1", "fourth2" })
   smq:subscribe("self", "the newest", hear"fifth")
   same(smq:unsubscribe"self", true)
   smq.onmsg = hear"onmsg".onmsg
   round_trip()
   smq:publish("3", "self", "the newest")
   eventually(function() return got[3] end, "the message")
   same(got[3], "onmsg3")
end)

test("an observation that is ended before it is answered tells nothing more", function()
   local smq = connected()
   local onchange, change = called()
   local onack, ack = called()
   same(smq:unobserve"client/looked at", false)
   smq:observe("client/looked at", function() onchange"wrong" end)
   same(smq:unobserve"client/looked at", true)
   smq:observe("client/looked at", onchange)
   same(change(), 0)
   smq:observe("client/passed by", function() onchange"wrong" end)
   same(smq:unobserve"client/passed by", true)
   smq:subscribe("client/passed by", { onack = onack })
   ack()
   smq:subscribe("client/looked at")
   local seen
   repeat
      seen = change()
      same(math.type(seen), "integer")
   until seen == 1
end)

test("the subscribers of a topic are observed, and the end of a client", function()
   local watcher, other = connected(), connected()
   local onchange, change = called()
   watcher:observe("client/watched", onchange)
   same(table.pack(change()), { 0, "client/watched", n = 2 })
   other:subscribe"client/watched"
   same(change(), 1)
   watcher:unobserve"client/watched"
   local onend, ends = called()
   local etid = other:gettid()
   watcher:observe(etid, onend)
   other:close()
   same(table.pack(ends()), { 0, etid, n = 2 })
end)

test("a topic is observed by its number, whether its name is known here or not", function()
   local watcher, other = connected(), connected()
   local onack, ack = called()
   local onchange, change = called()
   other:subscribe("client/nameless", { onack = onack })
   local _, _, tid = ack()
   watcher:observe(tid, onchange)
   same(table.pack(change()), { 1, tid, n = 2 })
   other:unsubscribe"client/nameless"
   same(change(), 0)
   other:subscribe"client/nameless"
   same(change(), 1)
end)

test("a callback that fails is shown and harms nothing", function()
   local smq = connected()
   local onmsg, message = called()
   smq:subscribe("client/fails", { onmsg = function(data) onmsg(data) error"on purpose" end })
   smq:publish("1", "client/fails")
   smq:publish("2", "client/fails")
   same(message(), "1")
   same(message(), "2")
end)

test("an error that cannot be made text harms nothing, either", function()
   local unspeakable = setmetatable({}, { __tostring = function() error"on purpose" end })
   local smq = connected()
   local onmsg, message = called()
   smq:subscribe("client/unspeakable", { onmsg = function(data) onmsg(data) error(unspeakable) end })
   smq:publish("1", "client/unspeakable")
   smq:publish("2", "client/unspeakable")
   same(message(), "1")
   same(message(), "2")
   local refused, why = client.create(url)
   function refused.onauth() error(unspeakable) end
   refused.onclose, why = called()
   local reason, canreconnect = why()
   assert(reason:find"^onauth: .*on purpose$", reason)
   same(canreconnect, false)
end)

test("a callback that is stopped, since it never waits, ends neither the client nor the callbacks behind it", function()
   local smq = connected()
   local onmsg, message = called()
   smq:subscribe("client/endless", { onmsg = function(data) onmsg(data) while data == "endless" do end end })
   smq:publish("endless", "client/endless")
   smq:publish("short", "client/endless")
   same(message(), "endless")
   same(message(), "short")
end)

test("an onauth that is stopped gives no credentials, and onclose tells why", function()
   local smq = client.create(url)
   function smq.onauth() while true do end end
   local onclose, closed = called()
   smq.onclose = onclose
   local why, canreconnect = closed()
   assert(why:find"^onauth: .*the script was stopped", why)
   same(canreconnect, false)
end)

test("a callback may wait, and its messages do so, too, in order", function()
   local smq, got = connected(), {}
   smq:subscribe("client/waits", { onmsg = function(data) ba.sleep(5) got[#got + 1] = data end })
   for i = 1, 3 do smq:publish("" .. i, "client/waits") end
   eventually(function() return #got == 3 end, "three messages")
   same(table.concat(got), "123")
end)

test("a disconnect by the server is final", function()
   local smq = connected()
   local closed
   smq.onclose, closed = called()
   on_server('hub:shutdown("go away", %d)', smq:gettid())
   same(table.pack(closed()), { "go away", false, n = 2 })
   same(smq:publish("x", "client/one"), false)
end)

test("a lost connection comes back when onclose asks for it", function()
   local smq, answer = connected()
   local closed, again
   local onclose, onreconnect
   onclose, closed = called()
   onreconnect, again = called()
   function smq.onclose(...) onclose(...) return 1000 end
   smq.onreconnect = onreconnect
   local before = smq:gettid()
   on_server("hub:shutdown(nil, %d)", before)
   local why, canreconnect = closed()
   same(type(why), "string")
   same(canreconnect, true)
   local etid = again()
   same(smq:gettid(), etid)
   assert(etid ~= before)
   smq:close()
end)

test("there is a second at least before a reconnect, whatever number onclose returns, and five when it returns true", function()
   local waits = {}
   for i, answer in ipairs{ 0 / 0, 1, -math.huge, true } do
      local smq = connected()
      local lost, again
      smq.onconnect, again = called()
      function smq.onclose() lost = ba.clock() return answer end
      on_server("hub:shutdown(nil, %d)", smq:gettid())
      waits[i] = function()
         again()
         smq:close()
         return ba.clock() - lost
      end
   end
   for i, wait in ipairs(waits) do
      local waited = wait()
      assert(waited >= (i == #waits and 5000 or 1000), waited)
   end
end)

test("close is for good", function()
   local smq = connected()
   local onclose, _, calls = called()
   smq.onclose = onclose
   local etid = smq:gettid()
   smq:close()
   smq:close()
   eventually(function() return on_server("hub:etid2peer(%d) == nil", etid) end, "the end")
   same(smq:gettid(), nil)
   same(smq:publish("x", "client/one"), false)
   same(#calls, 0)
end)

test("a callback may close the client, and no other is called after it", function()
   local smq = connected()
   local heard = {}
   smq:subscribe("client/last", { onmsg = function(data) heard[#heard + 1] = data smq:close() end })
   local etid = smq:gettid()
   for i = 1, 5 do smq:publish("" .. i, "client/last") end
   eventually(function() return on_server("hub:etid2peer(%d) == nil", etid) end, "the end")
   same(heard, { "1" })
end)

test("after close no other callback is called that waits for the same answer", function()
   local smq = connected()
   local onack, ack, calls = called()
   local function close(...) onack(...) smq:close() end
   local etid = smq:gettid()
   smq:create("client/same answer", close)
   smq:create("client/same answer", close)
   same(ack(), true)
   eventually(function() return on_server("hub:etid2peer(%d) == nil", etid) end, "the end")
   same(#calls, 1)
end)

test("after close while it connects, onauth is not called", function()
   on_server"hold(true)"
   local smq = client.create(url)
   local onauth, _, calls = called()
   smq.onauth = onauth
   eventually(function() return on_server"held" == 1 end, "the request")
   smq:close()
   on_server"hold(false)"
   eventually(function() return on_server"held" == 0 end, "the end of the handshake")
   same(#calls, 0)
end)

test("the longest message arrives and a longer one is refused", function()
   local smq = connected()
   local onmsg, message = called()
   smq:subscribe("client/long", { onmsg = onmsg })
   smq:publish(("x"):rep(0xFFF0), "client/long")
   same(#message(), 0xFFF0)
   assert(raises(smq.publish, smq, ("x"):rep(0xFFF1), "client/long"):find"at most 65520 bytes expected, got 65521")
end)

test("bytes arrive as they are, the empty message, too", function()
   local smq = connected()
   local onmsg, message = called()
   smq:subscribe("client/bytes", { onmsg = onmsg })
   for _, data in ipairs{ "", "\0\xff\r\n", "\xed\xa0\x80" } do
      smq:publish(data, "client/bytes")
      same((message()), data)
   end
end)

test("wrong arguments are named", function()
   local function complains(what, ...)
      local problem = raises(...)
      if not problem:find(what, 1, true) then error(problem, 2) end
   end
   complains("bad argument #1 'url' to 'client.create' (an http or https URL expected, got nil)", client.create)
   for _, wrong in ipairs{ "", "ftp://x/", "http://", "http:///x", "http://h:99999/", "http://h:0", "http://h/a b",
      "http://h/x\r\nInjected: 1", 5, {} } do
      complains("'url'", client.create, wrong)
   end
   complains("bad argument #2 'op' to 'client.create' (table expected, got number)", client.create, url, 5)
   complains("field 'uid': 6 to 255 bytes expected, got 5", client.create, url, { uid = "short" })
   complains("field 'timeout': number expected, got string", client.create, url, { timeout = "1" })
   for _, name in ipairs{ "timeout", "ping", "pong" } do
      for _, wrong in ipairs{ 0, -5, 0 / 0, math.huge, 1e10 } do
         complains("field '" .. name .. "': number above 0, at most 1000000000, expected, got " .. wrong, client.create, url,
            { [name] = wrong })
      end
   end
   complains("'X' is no header", client.create, url, { header = { X = "a\r\nb" } })
   complains("'X:' is no header", client.create, url, { header = { ["X:"] = "a" } })
   complains("'X' is no header", client.create, url, { header = { X = {} } })
   local smq = client.create(url)
   complains("'client:publish' (string or table expected, got nil)", smq.publish, smq)
   complains("'topic' to 'client:publish' (name or 32 bit number expected, got nil)", smq.publish, smq, "x")
   complains("(name or 32 bit number expected, got -1)", smq.publish, smq, "x", -1)
   complains("got 4294967296)", smq.publish, smq, "x", 1 << 32)
   complains("got 1.5)", smq.publish, smq, "x", 1.5)
   complains("longer than 60000 bytes", smq.publish, smq, "x", ("x"):rep(60001))
   complains("'subtopic'", smq.publish, smq, "x", "y", {})
   complains("'onack'", smq.create, smq, "x", 5)
   complains("'onack'", smq.createsub, smq, "x", 5)
   complains("field 'onmsg': function expected, got number", smq.subscribe, smq, "x", { onmsg = 5 })
   complains("'settings'", smq.subscribe, smq, "x", nil, 5)
   complains("'onchange'", smq.observe, smq, "x")
   complains("'topic'", smq.unobserve, smq)
   complains("'topic'", smq.unsubscribe, smq, {})
   smq:close()
end)

test("an error tells where the call was, and that its colon is missing", function()
   local smq = client.create(url)
   for _, wrong in ipairs{
      function() smq:publish("x", -1) end,
      function() smq:publish(5, "x") end,
      function() smq:publish(("x"):rep(65521), "x") end,
      function() smq:subscribe("x", nil, 5) end,
      function() smq:subscribe("x", { onmsg = 5 }) end,
      function() smq:create("x", 5) end,
      function() smq:observe("x", 5) end,
      function() smq:unobserve() end,
      function() client.create"nowhere" end,
      function() client.create(url, 5) end,
      function() client.create(url, { uid = "short" }) end,
      function() smq.publish("x", "topic") end,
   } do
      local problem = raises(wrong)
      if not problem:find"client_test.lua:%d+: " then error(problem) end
   end
   for _, method in ipairs{ "publish", "subscribe", "unsubscribe", "create", "createsub", "observe", "unobserve", "gettid",
      "close" } do
      assert(raises(smq[method], "x", "topic"):find("client:" .. method .. ": call it with a colon", 1, true))
   end
   smq:close()
end)
