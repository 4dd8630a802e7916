-- Where functions that wait cannot be called: below one that is written in C.

local WORDS <const> = "a function that waits, such as ba.sleep or coroutine.yield, was called by one that is not written in Lua"

local function wait_in_gsub()
   return (("x"):gsub("x", function() ba.sleep(1) end))
end

-- The error's text without the place in front, which must be a line of this file.
local function explained(text)
   local words = text:match"^[^:]*waiting_test%.lua:%d+: (.*)"
   assert(words and words:find(WORDS, 1, true) == 1, text)
end

test("whoever catches the error of a wait below a C function is told so, with a place", function()
   explained(raises(wait_in_gsub))
   explained(raises(table.sort, { 2, 1 }, function() ba.sleep(1) end))
   explained(raises(coroutine.wrap(wait_in_gsub)))
   explained(select(2, coroutine.resume(coroutine.create(wait_in_gsub))))
   explained(raises(string.gsub, "x", "x", coroutine.yield))
end)

test("a handler of xpcall is told the line that waits", function()
   local line = debug.getinfo(1, "l").currentline + 1
   local function wait() return (("x"):gsub("x", function() ba.sleep(1) end)) end
   local _, text = xpcall(wait, function(problem) return problem end)
   explained(text)
   assert(text:find("waiting_test.lua:" .. line .. ":", 1, true), text)
end)
