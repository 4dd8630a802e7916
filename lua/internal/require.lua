-- `require` as Lua's own library has it, but in Lua: a module may then wait while it is loaded, which it cannot below a function
-- that is written in C.
local place <const> = ... -- of a level; 0 is this function itself
local package, type, error, select = package, type, error, select
local concat, ipairs, setmetatable, running = table.concat, ipairs, setmetatable, coroutine.running

-- Where a module may be told to be missing without anything having been looked for.
local NOTHING <const> = "no file ''"
local HINT <const> = "\n\t(an app's own modules are in its folder .lua, where require looks after mako.createloader(io))"

-- Modules that are being loaded, with the coroutines that do it: others may load one that waits, too.
local loading <const> = {}

-- Raises the error where the script calls `require`. A tail call leaves no such place; then the module that does it was called
-- from here, and the error has none.
local function fail(level, message, ...)
   error(place(level + 1) .. message:format(...), 0)
end

local function find(name)
   local told = {}
   for _, search in ipairs(package.searchers) do
      local loader, place = search(name)
      if type(loader) == "function" then return loader, place end
      if type(loader) == "string" and loader ~= NOTHING then told[#told + 1] = "\n\t" .. loader end
   end
   fail(3, "module '%s' not found:%s%s", name, concat(told), HINT)
end

function _G.require(...)
   local name = ...
   if type(name) ~= "string" then
      local got = select("#", ...) == 0 and "no value" or type(name)
      fail(2, "bad argument #1 to 'require' (string expected, got %s)", got)
   end
   local loaded = package.loaded
   if loaded[name] then return loaded[name] end
   local loader, place = find(name)
   if loading[name] == running() then
      fail(2, "module '%s' requires itself, or what it requires requires it: there is no end to it", name)
   end
   loading[name] = running()
   local _ <close> = setmetatable({}, { __close = function() loading[name] = nil end })
   local module = loader(name, place)
   if module ~= nil then loaded[name] = module end
   if loaded[name] == nil then loaded[name] = true end
   return loaded[name], place
end
