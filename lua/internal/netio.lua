-- ba.openio"net": what other web servers offer, as files to be read. A path is a URL.
local http <const> = require"http"

-- What the statuses of HTTP are called for files.
local NAMES <const> = { [401] = "noaccess", [403] = "noaccess", [404] = "enoent", [410] = "enoent" }

-- A client for the server behind the URL; or nil and the error's name.
local function client_for(url)
   if type(url) ~= "string" then error(("bad argument 'path' (URL expected, got %s)"):format(type(url)), 3) end
   if not url:find"^https?://[^/%s]" then return nil, "invalidname" end
   return http.create()
end

-- The error's name for a status, or for a word of the client.
local function name_of(why) return NAMES[why] or "ioerror " .. why end

local Io <const> = {}

-- A client reads like a file: as much as it is asked for, nil at the end.
function Io:open(url, mode)
   if mode and not mode:find"^rb?$" then return nil, "noaccess" end
   local client, why = client_for(url)
   if not client then return nil, why end
   local sent, status
   sent, why = client:request{ url = url }
   if sent then status, why = client:status() end
   if status == 200 then return client end
   client:close()
   return nil, name_of(status or why)
end

function Io:stat(url)
   local client <close>, why = client_for(url)
   if not client then return nil, why end
   local info
   info, why = client:stat(url)
   if not info then return nil, name_of(why) end
   local name = url:gsub("[?#].*", ""):match"[^/]*$"
   return { name = name, size = info.size or 0, mtime = info.mtime or 0, isdir = false, type = "regular" }
end

function Io:loadfile(url, env)
   local file <close>, why = self:open(url)
   local source
   if file then source, why = file:read"a" end
   if not source then return nil, ("cannot open %s: %s"):format(url, why) end
   return load(source, "@" .. url, "t", env or _G)
end

function Io:dofile(url, env)
   local chunk, why = self:loadfile(url, env)
   if not chunk then error(why, 2) end
   return chunk()
end

function Io:realpath(url) return url end
function Io:resourcetype() return "net" end

-- HTTP has no list of files, and over there nothing is changed.
for _, name in ipairs{ "files", "mkdir", "rmdir", "remove", "rename" } do
   Io[name] = function() return nil, "noaccess" end
end

return Io
