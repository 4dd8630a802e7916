-- The app the black-box tests run against: one sandbox per test, each with a hub of its own.
local sandboxes = {}

-- The sandbox of that name: a table of globals for the test's snippets, with `event(...)` and `events`.
function sandbox(name)
   local box = sandboxes[name]
   if not box then
      box = setmetatable({events = {}}, {__index = _G})
      function box.event(...) box.events[#box.events + 1] = table.pack(...) end
      sandboxes[name] = box
   end
   return box
end

-- JSON of our own, so that what is tested does not carry the result of the test. Bytes become the code points 0 to 255.
local encode

local function quote(text)
   return '"' .. text:gsub('[^ !#-%[%]-~]', function(char) return ("\\u%04x"):format(char:byte()) end) .. '"'
end

local function list(t, count, depth)
   local items = {}
   for i = 1, count do items[i] = encode(t[i], depth + 1) end
   return "[" .. table.concat(items, ",") .. "]"
end

local function object(t, depth)
   local items = {}
   for key, value in pairs(t) do
      items[#items + 1] = quote(tostring(key)) .. ":" .. encode(value, depth + 1)
   end
   return "{" .. table.concat(items, ",") .. "}"
end

function encode(value, depth)
   local kind = math.type(value) or type(value)
   if kind == "nil" then return "null" end
   if kind == "boolean" then return tostring(value) end
   if kind == "integer" then return ("%d"):format(value) end
   if kind == "float" then return ("%.14g"):format(value):gsub("^(-?%d+)$", "%1.0") .. "" end
   if kind == "string" then return quote(value) end
   if kind ~= "table" then return '"<' .. kind .. '>"' end
   if depth > 8 then return '"<deep table>"' end
   if math.type(value.n) == "integer" then return list(value, value.n, depth) end
   if value[1] ~= nil then return list(value, #value, depth) end
   return object(value, depth)
end

-- Runs a snippet in a sandbox: {"values": [...]} or {"error": "..."}.
function eval(name, code)
   local chunk, problem = load(code, "=snippet", "t", sandbox(name))
   if not chunk then return '{"error":' .. quote(problem) .. "}" end
   local result = table.pack(pcall(chunk))
   if not result[1] then return '{"error":' .. quote(tostring(result[2])) .. "}" end
   return '{"values":' .. list({table.unpack(result, 2, result.n)}, result.n - 1, 0) .. "}"
end

-- Gives a request to the hub of a sandbox; the snippet may have defined its own way.
function enter(name, request)
   local box = sandbox(name)
   if box.connect then return box.connect(request) end
   box.hub:connect(request)
   if box.connected then box.connected() end
end

-- The same by way of a directory function: /hubs/NAME
local hubs = ba.create.dir("hubs")
local enter = enter -- a directory function does not see the app's globals
hubs:setfunc(function(_ENV, relpath)
   enter(relpath, request)
   return true
end)
dir:insert(hubs, true)
