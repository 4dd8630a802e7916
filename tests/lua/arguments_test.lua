-- Wrong arguments raise an error that names the function and what came, and leave nothing behind.
local smqhub = require"smq.hub"

-- The error of a method must name it and the type it got.
local function refuses(method, got, ...)
   local hub = smqhub.create()
   local problem = raises(hub[method], hub, ...)
   assert(problem:find(method, 1, true), problem)
   assert(problem:find(got, 1, true), problem)
   for _, name in hub:topics() do error("the topic " .. name .. " was created") end
   for _, name in hub:subtopics() do error("the sub-topic " .. name .. " was created") end
end

test("a topic is a name or a number", function()
   for _, method in ipairs{"create", "subscribe"} do
      refuses(method, "nil", nil)
      refuses(method, "table", {})
      refuses(method, "boolean", true)
      refuses(method, "function", print)
   end
   refuses("publish", "nil", "data", nil)
   refuses("publish", "table", "data", {})
   refuses("publish", "boolean", "data", false)
   refuses("observe", "table", {}, print)
end)

test("data is a string or a table", function()
   for _, bad in ipairs{true, print} do refuses("publish", type(bad), bad, "news") end
   refuses("publish", "nil", nil, "news")
end)

test("a method that is called with a dot says how to call it", function()
   local hub, timer, io = smqhub.create(), ba.timer(print), ba.openio"disk"
   for name, method in pairs{["hub:publish"] = hub.publish, ["timer:set"] = timer.set, ["io:dofile"] = io.dofile} do
      for _, first in ipairs{100, false, print} do
         local problem = raises(method, first, "x")
         assert(problem:find(name .. ": call it with a colon, on a", 1, true), problem)
      end
   end
end)

test("a table that cannot become JSON raises or is published, but does not stop the hub", function()
   local hub, got = smqhub.create()
   local cycle = {}
   cycle[1] = cycle
   pcall(hub.publish, hub, cycle, "news")
   hub:subscribe("news", {onmsg = function(data) got = data end})
   hub:publish("hello", "news")
   eventually(function() return got == "hello" end)
end)

test("an explicit number is an unsigned 32 bit number", function()
   for _, bad in ipairs{-1, 0.5, 0x100000000, 1e30} do
      for _, method in ipairs{"create", "createsub"} do
         local hub = smqhub.create()
         local problem = raises(hub[method], hub, "news", bad)
         assert(problem:find(method, 1, true), problem)
         same(hub:topic2tid"news", nil)
         same(hub:subtopic2tid"news", nil)
      end
   end
end)

test("so is the number of a sub-topic, which may be a float", function()
   for _, bad in ipairs{-1, -1.0, 0.5, 0x100000000, 4294967296.0, 1e30, 0/0} do
      refuses("publish", "number of 32 bits expected", "data", "news", bad)
      refuses("subscribe", "number of 32 bits expected", "news", {subtopic = bad, onmsg = print})
   end
   local hub, got = smqhub.create(), {}
   for _, subtid in ipairs{0, 5, 0xFFFFFFFF} do
      hub:subscribe("news", {subtopic = subtid + 0.0, onmsg = function(data) got[#got + 1] = data .. subtid end})
      hub:publish("integer ", "news", subtid)
      hub:publish("float ", "news", subtid + 0.0)
   end
   eventually(function() return #got == 6 end)
   same(table.concat(got, ","), "integer 0,float 0,integer 5,float 5,integer 4294967295,float 4294967295")
end)

test("a name that is too long is refused, with its length", function()
   local longest = ("x"):rep(65527)
   for _, method in ipairs{"create", "createsub", "subscribe"} do
      refuses(method, "at most 65527 bytes expected, got 65528", longest .. "x")
   end
   refuses("observe", "got 65528", longest .. "x", print)
   refuses("publish", "got 65528", "data", longest .. "x")
   refuses("publish", "got 65528", "data", "news", longest .. "x")
   refuses("subscribe", "got 65528", "news", {subtopic = longest .. "x", onmsg = print})
   local hub = smqhub.create()
   same(hub:tid2topic(hub:create(longest)), longest)
   same(hub:tid2subtopic(hub:createsub(longest)), longest)
end)

test("sock2peer finds nothing for nil, and wants an argument", function()
   local hub = smqhub.create()
   same(hub:sock2peer(nil), nil)
   refuses("sock2peer", "no value")
   refuses("sock2peer", "table", {})
end)

test("createsub of nothing is 0", function()
   same(smqhub.create():createsub(nil), 0)
end)

test("the options of subscribe are a table, and onmsg a function", function()
   refuses("subscribe", "string", "news", "sport")
   refuses("subscribe", "boolean", "news", true)
   refuses("subscribe", "string", "news", {onmsg = "print"})
   refuses("subscribe", "table", "news", {onmsg = {}})
end)

test("subscribing to an unknown number raises a telling error or returns no number", function()
   local hub = smqhub.create()
   local fine, problem = pcall(hub.subscribe, hub, 4711, {onmsg = print})
   if fine then same(problem, nil) else assert(tostring(problem):find"subscribe", problem) end
   same(hub:tid2topic(4711), nil)
end)

test("observe and onmsg take a function", function()
   refuses("observe", "no value", "news")
   refuses("observe", "nil", "news", nil)
   refuses("observe", "string", "news", "print")
   refuses("onmsg", "no value")
   refuses("onmsg", "nil", nil)
   refuses("onmsg", "table", {})
end)

test("setkeepalive takes numbers", function()
   local hub = smqhub.create()
   raises(hub.setkeepalive, hub)
   raises(hub.setkeepalive, hub, "soon")
   hub:setkeepalive(100)
   hub:setkeepalive(100, 10)
end)

test("a number is as good as its text only where it is one", function()
   local hub = smqhub.create()
   local tid = hub:create"4711"
   same(hub:tid2topic(tid), "4711")
   assert(hub:topic2tid"4711" == tid)
end)

test("pubon wants data, two clients and a sub-topic's number", function()
   local hub = smqhub.create()
   same(hub:pubon("data", 4711, 4712, 0), false)
   raises(hub.pubon, hub, {}, 4711, 4712, 0)
   raises(hub.pubon, hub, "data", 4711, 4712)
   raises(hub.pubon, hub, "data", 4711, 4712, "sport")
end)

test("connect takes a request", function()
   local hub = smqhub.create()
   for _, bad in ipairs{"request", 5, {}} do raises(hub.connect, hub, bad) end
   raises(hub.connect, hub)
end)

test("the options of create are checked when they are given", function()
   for _, option in ipairs{"authenticate", "permittop", "permitsubtop", "onconnect", "onclose", "onpublish", "ondrop", "onmsg", "log"} do
      for _, bad in ipairs{"text", 5, true, {}} do
         local problem = raises(smqhub.create, {[option] = bad})
         assert(problem:find(option, 1, true), problem)
         assert(problem:find("got "..(math.type(bad) and bad or type(bad)), 1, true), problem)
      end
      smqhub.create{[option] = print}
   end
   for _, option in ipairs{"readtmo", "keepidle", "keepintv", "queuesize"} do
      local problem = raises(smqhub.create, {[option] = "soon"})
      assert(problem:find(option, 1, true), problem)
   end
   raises(smqhub.create, "options")
   raises(smqhub.create, 5)
end)

test("options that nobody knows are ignored", function()
   smqhub.create{color = "blue", onconect = print}
end)

test("a method called with a dot says so", function()
   local hub = smqhub.create()
   raises(hub.publish, "data", "news")
   raises(hub.create, "news")
end)

test("publish looks at all its arguments before it creates anything", function()
   refuses("publish", "table", "data", "news", {})
   refuses("publish", "0.5", "data", "news", 0.5)
   refuses("publish", "string", "data", "news", "sport", "somebody")
   refuses("publish", "-1", "data", "news", nil, -1)
end)
