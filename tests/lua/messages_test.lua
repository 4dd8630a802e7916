-- The server as a client of its own hub: what it publishes reaches what it subscribed to.
local smqhub = require"smq.hub"

-- A hub and a list of what its callbacks got; `to(name)` makes a callback.
local function listener(op)
   local hub, got = smqhub.create(op), {}
   local function to(name)
      return function(data, ptid, tid, subtid) got[#got + 1] = {name, data, ptid, tid, subtid} end
   end
   return hub, got, to
end

test("a subscriber gets data, publisher, topic and sub-topic", function()
   local hub, got, to = listener()
   local tid = hub:subscribe("news", {onmsg = to"news"})
   same(tid, hub:topic2tid"news")
   same(hub:publish("hello", "news"), 0)
   hub:publish("again", tid)
   hub:publish("with sub-topic", "news", "sport")
   eventually(function() return #got == 3 end)
   same(got, {
      {"news", "hello", 1, tid, 0},
      {"news", "again", 1, tid, 0},
      {"news", "with sub-topic", 1, tid, hub:subtopic2tid"sport"},
   })
end)

test("the callback of the sub-topic comes first, then the topic's, then the global one", function()
   local hub, got, to = listener()
   hub:onmsg(to"global")
   hub:subscribe("news", {subtopic = "sport", onmsg = to"sport"})
   hub:subscribe("news", {onmsg = to"news"})
   hub:subscribe("plain")
   hub:subscribe("half", {subtopic = "sport", onmsg = to"half"})
   hub:publish("1", "news", "sport")
   hub:publish("2", "news", "weather")
   hub:publish("3", "plain", "sport")
   hub:publish("4", "half", "weather")
   eventually(function() return #got == 4 end)
   for i, name in ipairs{"sport", "news", "global", "global"} do
      same(got[i][1], name)
      same(got[i][2], tostring(i))
   end
end)

test("a sub-topic may be given by number", function()
   local hub, got, to = listener()
   hub:subscribe("news", {subtopic = 77, onmsg = to"77"})
   hub:publish("hello", "news", 77)
   eventually(function() return #got == 1 end)
   same(got[1], {"77", "hello", 1, hub:topic2tid"news", 77})
end)

test("without a callback not even the sub-topic is registered", function()
   local hub = smqhub.create()
   hub:subscribe("news", {subtopic = "sport"})
   same(hub:subtopic2tid"sport", nil)
   assert(hub:topic2tid"news")
end)

test("messages to self reach the global callback even without subscribing", function()
   local hub, got, to = listener()
   hub:onmsg(to"global")
   hub:publish("hello", "self")
   hub:publish("by number", hub:gettid(), 5)
   eventually(function() return #got == 2 end)
   same(got, {{"global", "hello", 1, 1, 0}, {"global", "by number", 1, 1, 5}})
end)

test("subscribing to self by name or number is the same", function()
   local hub, got, to = listener()
   same(hub:subscribe("self", {onmsg = to"self"}), 1)
   hub:publish("hello", "self")
   hub:publish("hello", 1)
   eventually(function() return #got == 2 end)
   same(got[1], got[2])
end)

test("the global callback is an option, too", function()
   local got
   local hub = smqhub.create{onmsg = function(data) got = data end}
   hub:publish("hello", "self")
   eventually(function() return got == "hello" end)
end)

test("a message nobody got goes to ondrop", function()
   local got
   local hub = smqhub.create{ondrop = function(...) got = {...} end}
   hub:publish("lost", "nobody", 3)
   eventually(function() return got end)
   local peer = table.remove(got)
   same(got, {"lost", 1, hub:topic2tid"nobody", 3})
   same(peer.uid, "SMQ server client")
end)

test("onpublish may drop messages, and then ondrop is not called", function()
   local dropped, got = 0, {}
   local hub = smqhub.create{
      onpublish = function(data) return data ~= "secret" end,
      ondrop = function() dropped = dropped + 1 end,
   }
   hub:subscribe("news", {onmsg = function(data) got[#got + 1] = data end})
   hub:publish("secret", "news")
   hub:publish("public", "news")
   eventually(function() return #got > 0 end)
   same(got, {"public"})
   same(dropped, 0)
end)

test("tables are published as JSON", function()
   local hub, got, to = listener()
   hub:subscribe("text", {onmsg = to"text"})
   hub:publish({1, "two", {three = true}}, "text")
   hub:publish({}, "text")
   hub:publish({a = 2.0}, "text")
   eventually(function() return #got == 3 end)
   same(got[1][2], '[1,"two",{"three":true}]')
   same(got[2][2], "{}")
   same(got[3][2], '{"a":2}')
end)

test("JSON comes back as a table", function()
   local hub, got, to = listener()
   hub:subscribe("data", {json = true, onmsg = to"data"})
   hub:publish({list = {1, 2.5, "x"}, flag = false}, "data")
   eventually(function() return #got == 1 end)
   same(got[1][2], {list = {1, 2.5, "x"}, flag = false})
end)

test("what is no JSON goes to the global callback as it was sent", function()
   local hub, got, to = listener()
   hub:onmsg(to"global")
   hub:subscribe("data", {json = true, onmsg = to"data"})
   for _, text in ipairs{"plain", "", "{", "[1,"} do hub:publish(text, "data") end
   eventually(function() return #got == 4 end)
   for i, text in ipairs{"plain", "", "{", "[1,"} do same({got[i][1], got[i][2]}, {"global", text}) end
end)

test("unsubscribe removes all callbacks of a topic", function()
   local dropped = 0
   local hub, got, to = listener{ondrop = function() dropped = dropped + 1 end}
   hub:subscribe("news", {onmsg = to"news"})
   hub:subscribe("news", {subtopic = "sport", onmsg = to"sport"})
   hub:unsubscribe"news"
   hub:publish("1", "news")
   hub:publish("2", "news", "sport")
   eventually(function() return dropped == 2 end)
   same(got, {})
end)

test("unsubscribing from unknown names is ignored and creates nothing", function()
   local hub = smqhub.create()
   hub:unsubscribe"news"
   hub:unobserve"news"
   hub:unsubscribe(4711)
   hub:unobserve(4711)
   same(hub:topic2tid"news", nil)
end)

test("messages arrive in the order in which they were published", function()
   local hub, got, to = listener()
   hub:subscribe("a", {onmsg = to"a"})
   hub:subscribe("b", {onmsg = to"b"})
   for i = 1, 100 do hub:publish(tostring(i), i % 3 == 0 and "a" or "b") end
   eventually(function() return #got == 100 end)
   for i = 1, 100 do same(got[i][2], tostring(i)) end
end)

test("payloads of any size up to the limit pass, larger ones raise", function()
   local hub, got, to = listener()
   hub:subscribe("big", {onmsg = to"big"})
   for _, size in ipairs{0, 1, 0xFFF0} do hub:publish(("x"):rep(size), "big") end
   eventually(function() return #got == 3 end)
   same(#got[3][2], 0xFFF0)
   local problem = raises(hub.publish, hub, ("x"):rep(0xFFF1), "big")
   assert(problem:find"publish", problem)
   assert(not problem:find"nil value", problem)
   raises(hub.publish, hub, {("x"):rep(0xFFF1)}, "big")
end)

test("an error in a callback does not stop later messages", function()
   local hub, count = smqhub.create(), 0
   hub:subscribe("news", {onmsg = function() count = count + 1 error"on purpose" end})
   for _ = 1, 50 do hub:publish("x", "news") end
   eventually(function() return count == 50 end)
   local free, used = hub:queuesize()
   same({free, used}, {200, 0})
end)

test("a callback that publishes to itself ends after a while", function()
   local hub, count = smqhub.create(), 0
   hub:subscribe("loop", {onmsg = function()
      count = count + 1
      if count < 10000 then hub:publish("again", "loop") end
   end})
   hub:publish("start", "loop")
   hub:subscribe("other", {onmsg = function() count = -1 end})
   hub:publish("still works", "other")
   eventually(function() return count == -1 end)
end)

test("an ondrop or onpublish that publishes ends after a while", function()
   for name, messages in pairs{onpublish = 1, ondrop = 2} do
      local hub, count = nil, 0
      hub = smqhub.create{[name] = function()
         count = count + 1
         for _ = 1, messages do hub:publish("again", "nobody") end
      end}
      hub:publish("start", "nobody")
      assert(count > 10, count)
   end
end)

test("the queue is empty when nothing happens", function()
   local free, used = smqhub.create():queuesize()
   same({free, used}, {200, 0})
   free, used = smqhub.create{queuesize = 50}:queuesize()
   same({free, used}, {50, 0})
end)
