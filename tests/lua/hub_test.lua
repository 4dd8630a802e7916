-- The hub itself: several of them, their peers, their end.
local smqhub = require"smq.hub"

test("the module offers create and isSMQ", function()
   same(type(smqhub.create), "function")
   same(type(smqhub.isSMQ), "function")
   assert(require"smq.hub" == smqhub)
end)

test("a hub has every documented method", function()
   local hub = smqhub.create()
   for _, name in ipairs{
      "connect", "create", "createsub", "gettid", "observe", "unobserve", "publish", "pubon", "subscribe", "unsubscribe",
      "onmsg", "tid2topic", "topic2tid", "subtopic2tid", "tid2subtopic", "peers", "topics", "subtopics", "sock2peer",
      "etid2peer", "queuesize", "setkeepalive", "shutdown",
   } do
      same(type(hub[name]), "function")
   end
end)

test("the server is the only peer of a fresh hub", function()
   local count = 0
   for sock, peer in smqhub.create():peers() do
      count = count + 1
      same(peer.tid, 1)
      same(peer.uid, "SMQ server client")
      same(peer.info, "SMQ server client")
      assert(peer.sock == sock)
      same(sock:peername(), nil)
   end
   same(count, 1)
end)

test("there are no peers for unknown numbers and sockets", function()
   local hub = smqhub.create()
   same(hub:etid2peer(4711), nil)
   same(hub:etid2peer(hub:create"news"), nil)
   for sock, peer in hub:peers() do same(hub:sock2peer(sock) == peer or hub:sock2peer(sock) == nil, true) end
end)

test("fields that an app adds to the server's peer table stay", function()
   local hub = smqhub.create()
   for _, peer in hub:peers() do peer.color = "blue" end
   collectgarbage()
   for _, peer in hub:peers() do same(peer.color, "blue") end
end)

test("a hub stays usable after shutdown", function()
   local hub, got = smqhub.create()
   local tid = hub:subscribe("news", {onmsg = function(data) got = data end})
   hub:shutdown()
   hub:shutdown"bye"
   hub:shutdown(nil, 4711)
   hub:shutdown("bye", tid)
   hub:shutdown("bye", 1)
   same(hub:create"news", tid)
   hub:publish("hello", "news")
   eventually(function() return got == "hello" end)
end)

test("hubs do not hear each other", function()
   local one, two, got = smqhub.create(), smqhub.create(), {}
   one:subscribe("news", {onmsg = function(data) got[#got + 1] = data end})
   two:publish("from two", "news")
   one:publish("from one", "news")
   eventually(function() return #got > 0 end)
   same(got, {"from one"})
end)

test("a hub with nothing to do takes no processor time", function()
   local hub = smqhub.create{onmsg = function() end}
   hub:publish("hello", "self")
   local before = os.clock()
   ba.sleep(200)
   assert(os.clock() - before < 0.1)
end)

test("forgotten hubs can be collected", function()
   for _ = 1, 300 do
      local hub = smqhub.create{onmsg = print}
      hub:subscribe("news", {onmsg = print})
   end
   collectgarbage()
   collectgarbage()
end)

test("the finalizer of an object may set the global callback, whenever it runs", function()
   local hub, begun, done = smqhub.create(), 0, 0
   local function litter()
      setmetatable({}, {__gc = function()
         begun = begun + 1
         hub:onmsg(litter)
         done = done + 1
      end})
   end
   hub:onmsg(litter)
   local data = ("x"):rep(60000)
   for _ = 1, 100 do hub:publish(data, "self") end
   assert(begun > 0)
   same(done, begun)
end)
