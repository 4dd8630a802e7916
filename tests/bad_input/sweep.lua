-- Calls a function that scripts can call with everything it does not expect, and notes what is not as it should be: each
-- call must answer, or raise an error that names the function.
local M = { problems = {} }

local HUGE <const> = ("x"):rep(1 << 20)

-- What no function expects at every place.
local function bad_values()
   local cycle = {}
   cycle[1], cycle.self = cycle, cycle
   return {
      { "nil", nil }, { "true", true }, { "false", false }, { "0", 0 }, { "-1", -1 }, { "2^53", 1 << 53 },
      { "maxinteger", math.maxinteger }, { "mininteger", math.mininteger }, { "0.5", 0.5 }, { "1e300", 1e300 },
      { "NaN", 0 / 0 }, { "inf", math.huge }, { "-inf", -math.huge }, { "empty string", "" }, { "NUL", "a\0b" },
      { "bytes", "\xff\xfe\r\n" }, { "..", "../../x" }, { "1 MiB", HUGE }, { "{}", {} }, { "a cycle", cycle },
      { "nested options", { url = {}, onmsg = {}, header = { [{}] = {} }, type = 5 } }, { "a function", function() end },
      { "a failing function", function() error"from a callback" end }, { "a thread", coroutine.create(function() end) },
      { "a datetime", ba.datetime"NOW" }, { "a directory", ba.create.dir"x" }, { "null", ba.json.null },
   }
end

-- What may stand before it, so that it is also met at the second, third and fourth place.
local function beginnings(io)
   local f = function() end
   return {
      {}, { "x" }, { 1 }, { io }, { {} }, { f }, { { url = "http://127.0.0.1:1/" } }, { "x", 1 }, { "x", io },
      { 1, 1, 1 }, { "x", "x", "x" },
   }
end

-- All argument lists, each with a description: nothing, and every bad value behind every beginning.
local function argument_lists(io)
   local lists = { { "nothing", table.pack() } }
   for _, beginning in ipairs(beginnings(io)) do
      for _, bad in ipairs(bad_values()) do
         local list = table.pack(table.unpack(beginning))
         list.n = list.n + 1
         list[list.n] = bad[2]
         lists[#lists + 1] = { #beginning .. " before " .. bad[1], list }
      end
   end
   return lists
end

-- ---- What the methods are called on, by class ----

local make = {}

function make.Request(env) return env.request end

function make.BodyReader(env) return env.request:rawrdr() end

function make.Collected(env) return env.response:setresponse() end

function make.Deferred(env) return env.response:deferred() end

function make.Cookie(env) return env.response:createcookie"name" end

function make.Session(env) return env.request:session(true) end

function make.Io(_, io) return io end

function make.File(_, io) return assert(io:open("a file", "w+")) end

function make.Timer() return ba.timer(function() end) end

function make.Pty() return assert(ba.forkpty"cat") end

function make.DateTime() return ba.datetime"NOW" end

function make.Thread() return ba.thread.create() end

function make.JsonUser() return ba.create.jsonuser() end

function make.Authorizer() return ba.create.jsonuser():authorizer() end

function make.Dir() return ba.create.dir"x" end

function make.Hub() return require"smq.hub".create() end

local function port(env)
   local _, port = env.request:sockname()
   return port
end

function make.Socket(env) return assert(ba.socket.connect("127.0.0.1", port(env))) end

local function own(env, path) return ("http://127.0.0.1:%d/%s"):format(port(env), path) end

function make.Httpc(env)
   local http = require"httpc".create()
   assert(http:request{ url = own(env, "alive.txt") })
   return http
end

function make.Http(env)
   local http = require"http".create()
   assert(http:request{ url = own(env, "alive.txt") })
   return http
end

local function client(env)
   local is_connected = false
   local made = require"smq.client".create(own(env, "hub.lsp"))
   made.onconnect = function() is_connected = true end
   while not is_connected do ba.sleep(1) end
   return made
end

function make.Client(env) return client(env) end

function make.HubSocket(env)
   M.client = M.client or client(env)
   for sock in M.hub:peers() do return sock end
end

local modules = {
   hubmodule = "smq.hub", brokermodule = "smq.broker", clientmodule = "smq.client", httpcmodule = "httpc", httpmodule = "http",
   rwfile = "rwfile", serpent = "serpent",
}

-- Objects that cost a connection or a process are made once for all calls, and anew when they have ended.
local KEPT <const> = { Pty = true, Client = true, HubSocket = true, Socket = true, Httpc = true, Http = true }

-- Functions that wait for something that does not come, which is what they are for.
local WAITS <const> = { ["ba.sleep"] = true, ["Socket:read"] = true, ["Pty:read"] = true, ["Socket:write"] = true }

-- ---- Calls ----

-- Errors that say what is the matter without the function's name, since they are what apps compare with; and those of the
-- functions that helpers call with what they were given.
local TELLING <const> = {
   "iscommitted", "session expired", "pagenotfound", "cannot open", "from a callback", "to 'http:request'", "to 'io:open'",
}

local function names_function(problem, name)
   if problem:find(name, 1, true) then return true end
   for _, words in ipairs(TELLING) do
      if problem:find(words, 1, true) then return true end
   end
   return false
end

-- A response that is deferred would stay open, a file as well.
local function close(object)
   if type(object) == "userdata" then pcall(function() object:close() end) end
end

local function check(name, description, f, list)
   local fine, problem = pcall(f, table.unpack(list, 1, list.n))
   if fine then return close(problem) end
   -- A nil error ends a page, as `response:abort` does.
   if problem == nil then return end
   local text = tostring(problem)
   if type(problem) ~= "string" or #text > 4096 or not names_function(text, name:match"[%a%d_]+$") then
      M.problems[#M.problems + 1] = name .. " of " .. description .. ": " .. text:sub(1, 300)
   end
end

-- As a task of its own: it may wait for ever.
local function check_aside(...)
   ba.socket.event(check, ...)
   ba.sleep(0)
end

local function resolve(name)
   local class, method = name:match"^(%a+):(%w+)$"
   if class then return class, method end
   local owner, field = name:match"^(.-)%.?(%w+)$"
   if name == "print" or name == "_emit" then return nil, nil, name end
   local holder = modules[owner] and require(modules[owner]) or _G
   if not modules[owner] then
      for part in owner:gmatch"%w+" do holder = holder[part] end
   end
   return nil, nil, holder[field]
end

-- How many argument lists there are for one function, and how many of them have at most one argument before the bad one,
-- which is a string, a number or an io object.
function M.count(io) return #argument_lists(io), 1 + 4 * #bad_values() end

-- Calls the function with its first to last list of arguments.
function M.sweep(env, io, name, first, last)
   local class, method, f = resolve(name)
   local call = WAITS[name] and check_aside or check
   local lists = argument_lists(io)
   if type(f) == "string" then f = env[f] end
   if class and not make[class] then error("nothing here makes a " .. class .. ": add it to 'make'") end
   local object
   for index = first, math.min(last, #lists) do
      local description, list = lists[index][1], lists[index][2]
      if class then
         if not KEPT[class] or not object or index % 100 == 0 then object = make[class](env, io) end
         if object[method] == nil then error(name .. " is documented and not there") end
         call(name, description, object[method], table.pack(object, table.unpack(list, 1, list.n)))
         -- With a dot in place of the colon, or for an object of another kind.
         call(name, description .. " without an object", object[method], list)
         if class == "Deferred" then close(object) end
      else
         if f == nil then error(name .. " is documented and not there") end
         call(name, description, f, list)
      end
   end
   collectgarbage()
end

return M
