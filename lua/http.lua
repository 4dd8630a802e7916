-- require"http" and require"httpm": the HTTP client with helpers for JSON and for files.
local httpc <const> = require"httpc"

-- How many bytes of a file are sent at a time.
local PIECE <const> = 65536

local Http = {}
local METHODS <const> = { "request", "write", "status", "header", "headerpairs", "read", "close" }

-- The client of require"httpc" behind the object that a method was called on.
local function client_of(method, self)
   if getmetatable(self) == Http then return self.client end
   error("http:" .. method .. ": call it with a colon, on what http.create has made", 3)
end

for _, name in ipairs(METHODS) do
   Http[name] = function(self, ...)
      local client = client_of(name, self)
      return client[name](client, ...)
   end
end

Http.__index = Http
Http.__close = function(self) self.client:close() end

-- Raises the error for a wrong argument of a method, at the line of the script that called it.
local function bad(method, position, name, expected, value)
   error(("bad argument #%d '%s' to '%s' (%s expected, got %s)"):format(position, name, method, expected, type(value)), 4)
end

local function checktable(method, position, name, value)
   if type(value) ~= "table" then bad(method, position, name, "table", value) end
end

local function checkop(method, position, op)
   if op ~= nil and type(op) ~= "table" then bad(method, position, "op", "table", op) end
end

local function checkio(method, io)
   -- Called protected, since some userdata raises an error when it is indexed.
   local fine, has = pcall(function() return io.resourcetype ~= nil end)
   if type(io) ~= "userdata" or not fine or not has then bad(method, 2, "io", "io object", io) end
end

-- The options of the script, with those that the method itself sets.
local function options(op, settings)
   local all = {}
   for key, value in pairs(op or {}) do all[key] = value end
   for key, value in pairs(settings) do all[key] = value end
   return all
end

-- Sends the request and waits for the response. Returns its status; or nil, a word and a sentence.
local function ask(self, request)
   local sent, why, sentence = self:request(request)
   if not sent then return nil, why, sentence end
   return self:status()
end

local function is_success(status) return status >= 200 and status < 300 end

-- Reads the body of the response. Returns true, the status and the body; nil instead of true if the status is not a
-- success; or nil, a word and a sentence if the body cannot be read.
local function outcome(self, status)
   local body, why, sentence = self:read"*a"
   if not body then return nil, why, sentence end
   if is_success(status) then return true, status, body end
   return nil, status, body
end

-- Sends the request. Returns the decoded JSON of the response and its status; or nil, the status or a word, and the
-- body or a sentence.
local function exchange(self, request)
   local status, why, sentence = ask(self, request)
   if not status then return nil, why, sentence end
   local done, code, body = outcome(self, status)
   if not done then return nil, code, body end
   local value = ba.json.decode(body)
   if value == nil and body ~= "" then return nil, "jsonerr", body end
   return value == nil and {} or value, status
end

-- json(url [, query [, op]]): asks for JSON with GET, or as `op` says.
function Http:json(url, query, op)
   client_of("json", self)
   if query ~= nil then checktable("http:json", 2, "query", query) end
   checkop("http:json", 3, op)
   return exchange(self, options(op, { url = url, query = query }))
end

-- post(url, table [, op]): sends the table as JSON with POST.
function Http:post(url, value, op)
   client_of("post", self)
   checktable("http:post", 2, "value", value)
   checkop("http:post", 3, op)
   local header = options(op and op.header, { ["Content-Type"] = "application/json" })
   local settings = { url = url, data = ba.json.encode(value), header = header, method = op and op.method or "POST" }
   return exchange(self, options(op, settings))
end

local MONTHS <const> = {
   Jan = 1, Feb = 2, Mar = 3, Apr = 4, May = 5, Jun = 6, Jul = 7, Aug = 8, Sep = 9, Oct = 10, Nov = 11, Dec = 12,
}

-- A date of the form `Sun, 06 Nov 1994 08:49:37 GMT` in seconds since 1970; nil for any other text.
local function seconds(date)
   local day, month, year, hour, min, sec = (date or ""):match"^%a+, (%d+) (%a+) (%d+) (%d+):(%d+):(%d+) GMT$"
   if not (month and MONTHS[month]) then return nil end
   local fields = { day = day, year = year, hour = hour, min = min, sec = sec }
   for name, digits in pairs(fields) do fields[name] = math.tointeger(digits) end
   fields.month = MONTHS[month]
   local moment = ba.datetime(fields)
   return moment and (moment:ticks())
end

-- stat(url [, op]): asks with HEAD. Returns a table with `size` (bytes), `mtime` (seconds since 1970) and `type` (media
-- type), as far as the server tells them.
function Http:stat(url, op)
   client_of("stat", self)
   checkop("http:stat", 2, op)
   local status, why, sentence = ask(self, options(op, { url = url, method = "HEAD" }))
   if not status then return nil, why, sentence end
   if not is_success(status) then return nil, status, "" end
   return {
      size = math.tointeger(self:header"content-length"), type = self:header"content-type",
      mtime = seconds(self:header"last-modified"),
   }
end

-- download(url, io, name [, op]): writes the response to the file `name` of `io`; true and the number of bytes. The file is
-- created when the server has answered, and removed if the response breaks off.
function Http:download(url, io, name, op)
   client_of("download", self)
   checkio("http:download", io)
   checkop("http:download", 4, op)
   local status, why, sentence = ask(self, options(op, { url = url }))
   if not status then return nil, why, sentence end
   if not is_success(status) then return outcome(self, status) end
   local file
   file, why = io:open(name, "w")
   if not file then return nil, why, "cannot write " .. name end
   local size = 0
   local data
   data, why, sentence = self:read()
   while data do
      local written
      written, why = file:write(data)
      if not written then sentence = "cannot write " .. name break end
      size = size + #data
      data, why, sentence = self:read()
   end
   file:close()
   if why then
      io:remove(name)
      return nil, why, sentence
   end
   return true, size
end

-- upload(url, io, name [, op]): sends the file `name` of `io` with PUT, or as `op` says; true, the status and the body.
function Http:upload(url, io, name, op)
   client_of("upload", self)
   checkio("http:upload", io)
   checkop("http:upload", 4, op)
   local file, why = io:open(name)
   if not file then return nil, why, "cannot read " .. name end
   local info = io:stat(name)
   local settings = { url = url, method = op and op.method or "PUT", size = info and info.size }
   local sent, sentence
   sent, why, sentence = self:request(options(op, settings))
   while sent do
      local data = file:read(PIECE)
      if not data then break end
      sent, why, sentence = self:write(data)
   end
   file:close()
   -- The server does not read the body any more. Its response tells why.
   if not sent and why ~= "bodycomplete" then return nil, why, sentence end
   local status
   status, why, sentence = self:status()
   if not status then return nil, why, sentence end
   return outcome(self, status)
end

local M = {}

-- create([op]): see httpc.create.
function M.create(op)
   return setmetatable({ client = httpc.create(op) }, Http)
end

return M
