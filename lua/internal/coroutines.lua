-- Makes Rust's asynchronous functions and Rust's errors look to scripts like Lua's own.
--
-- A Rust function that has to wait yields `pending` to the event loop. A coroutine of the script's own sits in between,
-- so resume and wrap hand `pending` on and go on with the inner coroutine when the loop comes back.
-- Errors raised by Rust functions are userdata; whoever catches one gets `plain(err)`, a string, instead. An error that
-- must not be caught, which `plain` tells by a second result, is thrown again. `plain` also explains `inner_wait`,
-- the text of the error that Lua raises when `pending` cannot be yielded.
--
-- A coroutine that waits is left to the script that made it wait. If another resumed or closed it, that script would
-- not be woken any more.
local pending, plain, inner_wait = ...
local pcall, xpcall, error, type = pcall, xpcall, error, type
local create, resume, yield, status, close =
   coroutine.create, coroutine.resume, coroutine.yield, coroutine.status, coroutine.close

-- Lua's own functions would name themselves, and the lines of this file.
local function check(position, expected, name, value)
   if type(value) == expected then return end
   error(("bad argument #%d to '%s' (%s expected, got %s)"):format(position, name, expected, type(value)), 3)
end

local function needs_plain(err)
   return type(err) == "userdata" or err == inner_wait
end

local function caught(ok, ...)
   if not ok and needs_plain((...)) then
      local text, is_final = plain((...))
      if is_final then error((...), 0) end
      return false, text
   end
   return ok, ...
end

function _G.pcall(...)
   return caught(pcall(...))
end

function _G.xpcall(f, handler, ...)
   check(2, "function", "xpcall", handler)
   return caught(xpcall(f, function(err, ...)
      if needs_plain(err) then
         local text, is_final = plain(err)
         -- The handler would run where nothing can stop it.
         if is_final then return err end
         err = text
      end
      return handler(err, ...)
   end, ...))
end

-- The coroutines that scripts have made, and whether they wait. All others are the event loop's.
local waits = setmetatable({}, { __mode = "k" })

local function make(f)
   local co = create(f)
   waits[co] = false
   return co
end

local function settle(co, ok, ...)
   if ok and (...) == pending then
      if waits[co] == false then waits[co] = true end
      return settle(co, resume(co, yield(pending)))
   end
   if waits[co] then waits[co] = false end
   return ok, ...
end

local function go_on(co, ...)
   if waits[co] then return false, "cannot resume a coroutine that waits" end
   return settle(co, resume(co, ...))
end

function coroutine.create(f)
   check(1, "function", "create", f)
   return make(f)
end

function coroutine.resume(co, ...)
   check(1, "thread", "resume", co)
   return caught(go_on(co, ...))
end

function coroutine.close(co)
   check(1, "thread", "close", co)
   if status(co) == "suspended" and waits[co] ~= false then error("cannot close a coroutine that waits", 2) end
   return caught(close(co))
end

local function unwrap(co, ok, ...)
   if ok then return ... end
   if status(co) == "dead" then close(co) end
   error((...), 0)
end

function coroutine.wrap(f)
   check(1, "function", "wrap", f)
   local co = make(f)
   return function(...)
      return unwrap(co, go_on(co, ...))
   end
end
