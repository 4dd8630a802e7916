-- Names and numbers of topics and sub-topics.
local smqhub = require"smq.hub"

test("create gives a topic a number and keeps it", function()
   local hub = smqhub.create()
   local tid = hub:create"news"
   assert(math.type(tid) == "integer" and tid > 1)
   same(hub:create"news", tid)
   same(hub:topic2tid"news", tid)
   same(hub:tid2topic(tid), "news")
end)

test("createsub gives a sub-topic a number and keeps it", function()
   local hub = smqhub.create()
   local subtid = hub:createsub"sport"
   assert(math.type(subtid) == "integer" and subtid > 0)
   same(hub:createsub"sport", subtid)
   same(hub:subtopic2tid"sport", subtid)
   same(hub:tid2subtopic(subtid), "sport")
end)

test("different topics have different numbers", function()
   local hub, seen = smqhub.create(), {}
   for i = 1, 500 do
      local tid = hub:create("topic " .. i)
      assert(not seen[tid])
      seen[tid] = true
   end
end)

test("a new topic may get a chosen number", function()
   local hub = smqhub.create()
   same(hub:create("news", 4711), 4711)
   same(hub:tid2topic(4711), "news")
   same(hub:createsub("sport", 4712), 4712)
   same(hub:tid2subtopic(4712), "sport")
   same(hub:create("highest", 0xFFFFFFFF), 0xFFFFFFFF)
end)

test("a known topic keeps its number, whatever is asked for", function()
   local hub = smqhub.create()
   local tid, subtid = hub:create"news", hub:createsub"sport"
   same(hub:create("news", 4711), tid)
   same(hub:createsub("sport", 4711), subtid)
   same(hub:tid2topic(4711), nil)
end)

test("a number that is taken, or 0, gives way to a random one", function()
   local hub = smqhub.create()
   hub:create("first", 4711)
   for _, number in ipairs{0, 1, 4711} do
      local tid = hub:create("with " .. number, number)
      assert(tid ~= number and tid ~= 0)
      same(hub:topic2tid("with " .. number), tid)
   end
   same(hub:tid2topic(4711), "first")
   hub:createsub("first", 4711)
   assert(hub:createsub("second", 4711) ~= 4711)
   assert(hub:createsub("zero", 0) ~= 0)
end)

test("topics and sub-topics have number spaces of their own", function()
   local hub = smqhub.create()
   same(hub:create("news", 4711), 4711)
   same(hub:createsub("news", 4711), 4711)
   same(hub:createsub("one", 1), 1)
end)

test("translations never create", function()
   local hub = smqhub.create()
   same(hub:topic2tid"news", nil)
   same(hub:subtopic2tid"sport", nil)
   same(hub:tid2topic(4711), nil)
   same(hub:tid2subtopic(4711), nil)
   for _ in hub:topics() do error"there are no topics" end
   for _ in hub:subtopics() do error"there are no sub-topics" end
end)

test("self and the server's number have no translation", function()
   local hub = smqhub.create()
   hub:subscribe("self", {onmsg = print})
   same(hub:topic2tid"self", nil)
   same(hub:tid2topic(1), nil)
   for _ in hub:topics() do error"self is no topic" end
end)

test("create self makes no topic that hides the server", function()
   local hub = smqhub.create()
   pcall(hub.create, hub, "self")
   for _, name in hub:topics() do assert(name ~= "self") end
   local got
   hub:onmsg(function(data) got = data end)
   hub:publish("hello", "self")
   eventually(function() return got == "hello" end)
end)

test("names are byte strings", function()
   local hub = smqhub.create()
   local name = "\0\xFF\n\x80"
   local tid = hub:create(name)
   same(hub:tid2topic(tid), name)
   same(hub:tid2topic(hub:create""), "")
   assert(hub:create"A" ~= hub:create"a")
end)

test("topics lists number and name of each topic", function()
   local hub = smqhub.create()
   local expected = {[hub:create"a"] = "a", [hub:create"b"] = "b"}
   hub:createsub"c"
   local got = {}
   for tid, name in hub:topics() do got[tid] = name end
   same(got, expected)
end)

test("subtopics lists number and name of each sub-topic", function()
   local hub = smqhub.create()
   local expected = {[hub:createsub"a"] = "a", [hub:createsub"b"] = "b"}
   hub:create"c"
   local got = {}
   for subtid, name in hub:subtopics() do got[subtid] = name end
   same(got, expected)
end)

test("topics may be created while they are listed", function()
   local hub = smqhub.create()
   for i = 1, 10 do hub:create("topic " .. i) end
   local seen = 0
   for _, name in hub:topics() do
      seen = seen + 1
      if seen <= 20 then hub:create(name .. "'") end
   end
   assert(seen >= 10)
end)

test("hubs do not share topics", function()
   local one, two = smqhub.create(), smqhub.create()
   one:create("news", 4711)
   same(two:topic2tid"news", nil)
   same(two:tid2topic(4711), nil)
end)

test("the server's own number is 1 unless it is to be random", function()
   same(smqhub.create():gettid(), 1)
   local hub = smqhub.create{rndtid = true}
   assert(math.type(hub:gettid()) == "integer" and hub:gettid() > 1)
end)

test("a sub-topic's number may be a float with an integral value", function()
   local hub, heard = smqhub.create(), {}
   hub:subscribe("news", {subtopic = 10 / 2, onmsg = function(data, ptid, tid, subtid) heard[#heard + 1] = subtid end})
   hub:publish("x", "news", 5.0)
   same(heard, {5})
   assert(raises(hub.publish, hub, "x", "news", 5.5):find("string or number of 32 bits expected, got 5.5", 1, true))
end)

test("'self' names the server's own address and no topic, whatever clients create", function()
   same(smqhub.create():topic2tid"self", nil)
end)
