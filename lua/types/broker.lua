---@meta smq.broker

---@class smq.brokermodule
local brokermodule = {}

---The older interface to a hub, with a random etid for the server: the methods of `smq.Hub` as functions, called with a dot.
---@param op smq.HubOptions
---@return table<string, function>
function brokermodule.create(op) end

return brokermodule
