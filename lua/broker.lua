-- require"smq.broker": the older interface to the hub. create(op) returns a table whose functions are called with a dot.
local hub <const> = require"smq.hub"

local METHODS <const> = {
   "connect", "create", "createsub", "gettid", "subscribe", "unsubscribe", "observe", "unobserve", "onmsg",
   "topic2tid", "tid2topic", "subtopic2tid", "tid2subtopic", "topics", "subtopics", "peers", "sock2peer",
   "etid2peer", "queuesize", "setkeepalive", "shutdown",
}

local M = {}

function M.create(op)
   if type(op) ~= "table" then
      error("bad argument #1 'op' to 'broker.create' (table expected, got "..type(op)..")", 2)
   end
   local options = {}
   for key, value in pairs(op) do options[key] = value end
   options.rndtid = true
   local broker = hub.create(options)
   local smq = {}
   for _, name in ipairs(METHODS) do
      local method = broker[name]
      smq[name] = function(...) return method(broker, ...) end
   end
   -- The fourth argument of the hub's publish is not part of this interface.
   function smq.publish(data, topic, subtopic) return broker:publish(data, topic, subtopic) end
   function smq.getbroker() return broker end
   return smq
end

return M
