-- One connection of require"smq.client": the HTTP request that starts it, the handshake, and packets as raw frames.
local pack <const>, unpack <const> = string.pack, string.unpack

local MAX_HEAD <const> = 16384
local MAX_REDIRECTS <const> = 5
local MAX_UID <const> = 255
local REDIRECTS <const> = { ["301"] = true, ["302"] = true, ["303"] = true, ["307"] = true, ["308"] = true }

local STRANGER <const> = "the server does not speak SMQ"

local KIND <const> = { INIT = 1, CONNECT = 2, CONNACK = 3, PUBLISH = 8 }

local Link = {}
Link.__index = Link

-- The parts of an http or https URL; nil for anything else, such as a URL with a line break that would begin a header.
local function parse_url(url)
   if url:find"[%c ]" then return nil end
   local scheme, authority, path = url:match"^(%a+)://([^/?#]+)([^#]*)"
   local secure = scheme and scheme:lower() == "https"
   if not scheme or not secure and scheme:lower() ~= "http" then return nil end
   local host, port = authority:match"^%[(.+)%]:?(%d*)$"
   if not host then host, port = authority:match"^([^:]+):?(%d*)$" end
   port = host and (port == "" and (secure and 443 or 80) or tonumber(port))
   if not port or port < 1 or port > 65535 then return nil end
   if path:sub(1, 1) ~= "/" then path = "/" .. path end
   return { secure = secure, host = host, port = port, authority = authority, path = path }
end

-- Reads more; nil and a reason when nothing came in time or the connection is gone.
function Link:fill(milliseconds)
   local data, why = self.socket:read(milliseconds)
   if not data then return nil, self.failure or why end
   self.input, self.at = self.input:sub(self.at) .. data, 1
   return true
end

-- The head of the HTTP response: its status line and its fields, names in lower case.
function Link:read_head(milliseconds)
   local stop
   repeat
      local filled, why = self:fill(milliseconds)
      if not filled then return nil, why end
      stop = self.input:find("\r\n\r\n", 1, true)
      if not stop and #self.input > MAX_HEAD then return nil, "the HTTP response has no end" end
   until stop
   local head = self.input:sub(1, stop + 1)
   self.at = stop + 4
   local fields = {}
   for name, value in head:gmatch"\r\n([^:\r\n]+):[ \t]*([^\r\n]*)" do fields[name:lower()] = value end
   return head:match"^[^\r\n]*", fields
end

-- The next packet: its type and its body. With `expected` any other type is told as soon as it is seen.
function Link:read(milliseconds, expected)
   while true do
      local input, at = self.input, self.at
      if #input - at >= 1 then
         if expected and (input:byte(at + 2) or expected) ~= expected then return nil, STRANGER end
         local length = unpack(">I2", input, at)
         if length < 3 then return nil, "the server sent a malformed frame" end
         if #input - at + 1 >= length then
            self.at = at + length
            return input:byte(at + 2), input:sub(at + 3, at + length - 1)
         end
      end
      local filled, why = self:fill(milliseconds)
      if not filled then return nil, why end
   end
end

-- True, or nil and a reason. A message may be lost when too much waits; without any other packet the two sides would no
-- longer agree, so that ends the connection.
function Link:send(kind, body)
   local sent, why = self.socket:write(pack(">I2B", #body + 3, kind) .. body)
   if not sent and why == "overflow" and kind ~= KIND.PUBLISH then
      self.failure = "the server does not read"
      self:close()
   end
   return sent, why
end

function Link:close()
   self.socket:close()
end

local function request(url, op)
   local lines = {
      "GET " .. url.path .. " HTTP/1.1", "Host: " .. url.authority, "SimpleMQ: 1", "SendSmqHttpResponse: true",
   }
   for name, value in pairs(op.header or {}) do lines[#lines + 1] = name .. ": " .. value end
   return table.concat(lines, "\r\n") .. "\r\n\r\n"
end

local function dial(url, op)
   local socket, word, sentence = ba.socket.connect(url.host, url.port, {
      secure = url.secure, trusted = op.trusted, ca = op.ca, timeout = op.timeout,
   })
   if not socket then return nil, sentence or word end
   return setmetatable({ socket = socket, input = "", at = 1 }, Link)
end

-- The URL that a redirect leads to. Credentials in the header stay with the server they were meant for.
local function redirected(url, location)
   if location:find"^%a+://" then
      local target = parse_url(location)
      if target and target.authority == url.authority and target.secure == url.secure then return target end
   elseif location:sub(1, 1) == "/" and location:sub(2, 2) ~= "/" then
      local target = {}
      for key, value in pairs(url) do target[key] = value end
      target.path = location
      return target
   end
end

-- Asks for the SMQ connection, following redirects within the server.
local function start(url, op)
   for _ = 0, MAX_REDIRECTS do
      local link, why = dial(url, op)
      if not link then return nil, why end
      link.socket:write(request(url, op))
      local status, fields = link:read_head(op.timeout)
      local code = status and status:match"^HTTP/1%.%d (%d%d%d)"
      if code == "200" then return link end
      link:close()
      if not status then return nil, fields end
      url = REDIRECTS[code] and redirected(url, fields.location or "")
      if not url then return nil, "the server answers: " .. status end
   end
   return nil, "too many redirects"
end

-- A packet of this kind, or nil and a reason.
function Link:expect(kind, milliseconds)
   local got, body = self:read(milliseconds, kind)
   return got and body, body
end

function Link:handshake(op, credentials)
   local init, why = self:expect(KIND.INIT, op.timeout)
   if not init then return nil, why, true end
   if #init < 5 then return nil, STRANGER, true end
   local seed, address = unpack(">I4", init, 2), init:sub(6)
   local uid = op.uid or address .. seed
   if #uid > MAX_UID then return nil, STRANGER, true end
   local text, connack
   text, why = credentials(seed, address)
   if not text then return nil, why, false end
   self:send(KIND.CONNECT, pack(">Bs1s1", 1, uid, text) .. (op.info or ""))
   connack, why = self:expect(KIND.CONNACK, op.timeout)
   if not connack then return nil, why, true end
   if #connack < 5 then return nil, STRANGER, true end
   local code, etid = unpack(">BI4", connack)
   if code == 0 then return { etid = etid, seed = seed, address = address } end
   local reason = connack:sub(6)
   return nil, reason ~= "" and reason or "refused with code " .. code, false
end

local M = { parse_url = parse_url }

-- Connects: the link and {etid, seed, address}; or nil, a reason, and whether another try may help. `credentials(seed,
-- address)` gives the credentials; or nil and why there are none, which is final.
function M.open(url, op, credentials)
   local link, why = start(url, op)
   if not link then return nil, why, true end
   local welcome, reason, canreconnect = link:handshake(op, credentials)
   if welcome then return link, welcome end
   link:close()
   return nil, reason, canreconnect
end

return M
