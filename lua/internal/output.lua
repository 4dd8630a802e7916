-- What a page writes with. `put` stores output and says whether the client has to catch up first; only then is
-- `drain`, which waits, worth a call. Where a script cannot wait (in a gsub callback, say) the output stays stored.
-- Likewise `begin_flush` and `begin_send` say whether `hand_over` has something to wait for.
local put, drain, begin_flush, begin_send, hand_over = ...
local isyieldable, pack, concat, tostring, setmetatable =
   coroutine.isyieldable, table.pack, table.concat, tostring, setmetatable
local globals = { __index = _G }

local function write(response, ...)
   if put(response, ...) and isyieldable() then drain(response) end
end

local function flush(response)
   if begin_flush(response) and isyieldable() then hand_over(response) end
end

local function send(response, ...)
   if begin_send(response, ...) and isyieldable() then hand_over(response) end
end

-- The environment of one request; pages that it includes or forwards to share it.
local function environment(response)
   local function emit(text)
      if put(response, text) and isyieldable() then drain(response) end
   end
   local function print(...)
      local line = pack(...)
      for i = 1, line.n do line[i] = tostring(line[i]) end
      emit(concat(line, "\t") .. "\n")
   end
   return setmetatable({ request = response, response = response, print = print, _emit = emit }, globals)
end

return { write = write, flush = flush, send = send }, environment
