-- What test scripts have at hand, documented in lua/types/test.lua. Called with the script's name, the server's URL, and functions
-- that hear of each test's begin and end; gives the script's globals.
local script, url, begin, ended, request = ...

-- Numbers that differ read differently: where tostring leaves digits out, all of them are shown.
local function shownumber(value)
   local text = tostring(value)
   return tonumber(text) == value and text or ("%.16e"):format(value)
end

-- `around` holds the tables that the value is in, so that one within itself has an end.
local function show(value, around)
   if type(value) == "string" then return ("%q"):format(value) end
   if type(value) == "number" then return shownumber(value) end
   if type(value) ~= "table" then return tostring(value) end
   if around and around[value] then return "{...}" end
   local inside = setmetatable({ [value] = true }, { __index = around })
   local parts = {}
   for key, item in pairs(value) do parts[#parts + 1] = "[" .. show(key, inside) .. "]=" .. show(item, inside) end
   table.sort(parts)
   return "{" .. table.concat(parts, ", ") .. "}"
end

-- What was raised: an object that has a text says that one.
local function describe(problem)
   local meta = getmetatable(problem)
   if type(problem) == "string" or type(meta) == "table" and meta.__tostring then return tostring(problem) end
   return show(problem)
end

-- The innermost place of the script that is running: what the script called may have raised the error.
local function place()
   for level = 2, 100 do
      local info = debug.getinfo(level)
      if not info then return script end
      if info.source == "@" .. script then return script .. ":" .. info.currentline end
   end
   return script
end

local env = setmetatable({}, { __index = _G })

function env.test(name, body)
   begin(name)
   local where
   local fine, problem = xpcall(body, function(problem)
      where = place()
      return problem
   end)
   if fine then return ended() end
   problem = describe(problem)
   local prefix = where .. ": "
   if problem:sub(1, #prefix) == prefix then problem = problem:sub(#prefix + 1) end
   ended(prefix .. name .. ": " .. problem)
end

function env.same(got, expected)
   if show(got) ~= show(expected) then error("expected " .. show(expected) .. ", got " .. show(got), 2) end
end

function env.raises(f, ...)
   local fine, problem = pcall(f, ...)
   if fine then error("no error was raised", 2) end
   return tostring(problem)
end

function env.eventually(condition, what)
   local deadline = os.time() + 10
   while not condition() do
      if os.time() > deadline then error((what or "it") .. " has not happened", 2) end
      ba.sleep(5)
   end
end

local server = { url = url }
env.server = server

function server.request(method, path, headers, body)
   return request(method, url .. path, headers, body)
end

function server.get(path, headers)
   return request("GET", url .. path, headers)
end

-- Posts a table as a form, a string as it is.
function server.post(path, data, headers)
   local sent = {}
   for name, value in pairs(headers or {}) do sent[name] = value end
   if type(data) == "table" then
      local fields = {}
      local function encode(text)
         return (tostring(text):gsub("[^%w%-._~]", function(char) return ("%%%02X"):format(char:byte()) end))
      end
      for name, value in pairs(data) do fields[#fields + 1] = encode(name) .. "=" .. encode(value) end
      table.sort(fields)
      data = table.concat(fields, "&")
      sent["Content-Type"] = "application/x-www-form-urlencoded"
   end
   return request("POST", url .. path, sent, data)
end

return env
