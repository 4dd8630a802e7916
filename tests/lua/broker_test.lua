-- require"smq.broker": the older interface, called with a dot.
local broker = require"smq.broker"

test("its functions are called with a dot", function()
   local smq, got = broker.create{}
   local tid = smq.subscribe("news", {onmsg = function(data) got = data end})
   same(smq.topic2tid"news", tid)
   same(smq.tid2topic(tid), "news")
   smq.publish("hello", "news")
   eventually(function() return got == "hello" end)
   smq.unsubscribe"news"
end)

test("it has the hub's methods except pubon", function()
   local smq = broker.create{}
   for _, name in ipairs{
      "connect", "create", "createsub", "gettid", "observe", "unobserve", "publish", "subscribe", "unsubscribe", "onmsg",
      "tid2topic", "topic2tid", "subtopic2tid", "tid2subtopic", "peers", "topics", "subtopics", "sock2peer", "etid2peer",
      "queuesize", "setkeepalive", "shutdown", "getbroker",
   } do
      same(type(smq[name]), "function")
   end
   same(smq.pubon, nil)
end)

test("its number is random", function()
   assert(broker.create{}.gettid() > 1)
end)

test("getbroker gives something to hold on to", function()
   assert(broker.create{}.getbroker() ~= nil)
end)

test("the options are those of the hub", function()
   local got
   local smq = broker.create{ondrop = function(data) got = data end}
   smq.publish("lost", "nobody")
   eventually(function() return got == "lost" end)
end)

test("the peers can be listed", function()
   local smq, count = broker.create{}, 0
   for sock, peer in smq.peers() do count = count + 1 end
   same(count, 1)
end)
