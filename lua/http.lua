-- require"http" and require"httpm": the HTTP client with helpers for JSON.
local httpc <const> = require"httpc"

local Http = {}
local METHODS <const> = { "request", "write", "status", "header", "headerpairs", "read", "close" }

for _, name in ipairs(METHODS) do
   Http[name] = function(self, ...)
      local client = self.client
      return client[name](client, ...)
   end
end

Http.__index = Http
Http.__close = function(self) self.client:close() end

local function bad(method, position, name, expected, value)
   error(("bad argument #%d '%s' to '%s' (%s expected, got %s)"):format(position, name, method, expected, type(value)), 3)
end

-- The options of a request with what the helper itself sets.
local function options(op, settings)
   local all = {}
   for key, value in pairs(op or {}) do all[key] = value end
   for key, value in pairs(settings) do all[key] = value end
   return all
end

-- Sends the request; the decoded response; or nil, the status or a word, and the body or a sentence.
local function exchange(self, request)
   local sent, why, sentence = self:request(request)
   if not sent then return nil, why, sentence end
   local status
   status, why, sentence = self:status()
   if not status then return nil, why, sentence end
   local body
   body, why, sentence = self:read"*a"
   if not body then return nil, why, sentence end
   if status < 200 or status > 299 then return nil, status, body end
   local value = ba.json.decode(body)
   if value == nil and body ~= "" then return nil, "jsonerr", body end
   return value == nil and {} or value, status
end

-- json(url [, query [, op]]): asks for JSON with GET, or as `op` says.
function Http:json(url, query, op)
   if query ~= nil and type(query) ~= "table" then bad("http:json", 2, "query", "table", query) end
   if op ~= nil and type(op) ~= "table" then bad("http:json", 3, "op", "table", op) end
   return exchange(self, options(op, { url = url, query = query }))
end

-- post(url, table [, op]): sends the table as JSON with POST.
function Http:post(url, value, op)
   if type(value) ~= "table" then bad("http:post", 2, "value", "table", value) end
   if op ~= nil and type(op) ~= "table" then bad("http:post", 3, "op", "table", op) end
   local header = options(op and op.header, { ["Content-Type"] = "application/json" })
   local settings = { url = url, data = ba.json.encode(value), header = header, method = op and op.method or "POST" }
   return exchange(self, options(op, settings))
end

local M = {}

-- create([op]): see httpc.create.
function M.create(op)
   return setmetatable({ client = httpc.create(op) }, Http)
end

return M
