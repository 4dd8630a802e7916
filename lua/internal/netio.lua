-- ba.openio"net": what other web servers offer, as files to be read. A path is a URL.
local http <const> = require"http"

-- What the statuses of HTTP are called for files.
local NAMES <const> = { [401] = "noaccess", [403] = "noaccess", [404] = "enoent", [410] = "enoent" }
local MONTHS <const> = "JanFebMarAprMayJunJulAugSepOctNovDec"

-- The client behind the head of a good response; or nil and the error's name.
local function ask(method, url)
   if type(url) ~= "string" then error(("bad argument 'path' (URL expected, got %s)"):format(type(url)), 3) end
   if not url:find"^https?://[^/%s]" then return nil, "invalidname" end
   local client <const> = http.create()
   local sent, why = client:request{ method = method, url = url }
   local status
   if sent then status, why = client:status() end
   if status == 200 then return client end
   client:close()
   return nil, NAMES[status] or "ioerror " .. (status or why)
end

-- Seconds since 1970 of a date as HTTP writes it; 0 without one.
local function seconds(date)
   local day, month, year, time = (date or ""):match"(%d+) (%a+) (%d+) ([%d:]+) GMT$"
   local at = month and MONTHS:find(month, 1, true)
   local moment = at and ba.datetime(("%s-%02d-%sT%sZ"):format(year, at // 3 + 1, day, time))
   return moment and (moment:ticks()) or 0
end

local Io <const> = {}

-- A client reads like a file: as much as it is asked for, nil at the end.
function Io:open(url, mode)
   if mode and not mode:find"^rb?$" then return nil, "noaccess" end
   return ask("GET", url)
end

function Io:stat(url)
   local client <close>, why = ask("HEAD", url)
   if not client then return nil, why end
   local size, date = client:header"content-length", client:header"last-modified"
   local name = url:gsub("[?#].*", ""):match"[^/]*$"
   return { name = name, size = math.tointeger(size) or 0, mtime = seconds(date), isdir = false, type = "regular" }
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
