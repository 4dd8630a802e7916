-- Runs the scripts of tests/lua: each is a page that calls `test` for every case.
local pending, failures, passed = 0, {}, 0

local function show(value)
   if type(value) == "string" then return ("%q"):format(value) end
   if type(value) ~= "table" then return tostring(value) end
   local parts = {}
   for key, item in pairs(value) do parts[#parts + 1] = "[" .. show(key) .. "]=" .. show(item) end
   table.sort(parts)
   return "{" .. table.concat(parts, ", ") .. "}"
end

local tools = {}

-- Runs `body` as a coroutine of its own; it may wait with `eventually`.
function tools.test(name, body)
   pending = pending + 1
   local function run()
      local fine, problem = pcall(body)
      pending = pending - 1
      if fine then
         passed = passed + 1
      else
         failures[#failures + 1] = name .. ": " .. tostring(problem):gsub("\n", " ")
      end
   end
   ba.timer(run):set(1, true)
end

-- Waits until `condition()` is true.
function tools.eventually(condition, what)
   local deadline = os.time() + 10
   while not condition() do
      if os.time() > deadline then error((what or "it") .. " has not happened", 2) end
      coroutine.yield(true)
   end
end

-- Are both the same, tables item by item?
function tools.same(got, expected)
   if show(got) ~= show(expected) then error("expected " .. show(expected) .. ", got " .. show(got), 2) end
end

-- Calls a function that must raise an error, and returns its text.
function tools.raises(f, ...)
   local fine, problem = pcall(f, ...)
   if fine then error("no error was raised", 2) end
   return tostring(problem)
end

function harness() return tools.test, tools.same, tools.eventually, tools.raises end

-- First a line with the numbers of tests pending and passed, then a line for each failure.
function report() return pending .. " " .. passed .. "\n" .. table.concat(failures, "\n") end
