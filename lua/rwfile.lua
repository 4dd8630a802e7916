--- Whole files in one call.
--
--     rwfile.file(io, name)           the text of a file, or nil and the reason (`enoent`, ...)
--     rwfile.file(io, name, data)     writes it anew: true, or nil and the reason
--     rwfile.json(io, name)           the table that a JSON file holds; bad JSON is nil, `jsonerr`
--     rwfile.json(io, name, table)    writes a table as JSON
--
-- `io` is a file system object, such as the `io` of an app.

local rwfile = {}

local function is_io(value)
   -- Called protected, since some userdata raises an error when it is indexed.
   local fine, can_open = pcall(function() return value.open ~= nil end)
   return fine and can_open and type(value) ~= "string"
end

local function is_text(value)
   return type(value) == "string" or type(value) == "number"
end

-- Raises an error in the script that has called `method`, unless the argument fits.
local function check(fits, method, number, name, expected, value)
   if not fits then
      local text = "bad argument #%d '%s' to '%s' (%s expected, got %s)"
      error(text:format(number, name, method, expected, type(value)), 3)
   end
end

local function read(io, name)
   local file, reason = io:open(name, "r")
   if not file then
      return nil, reason
   end
   local text
   text, reason = file:read "*a"
   file:close()
   if not text then
      return nil, reason
   end
   return text
end

local function write(io, name, data)
   local file, reason = io:open(name, "w")
   if not file then
      return nil, reason
   end
   local written
   written, reason = file:write(data)
   file:close()
   if not written then
      return nil, reason
   end
   return true
end

function rwfile.file(io, name, data)
   check(is_io(io), "rwfile.file", 1, "io", "io object", io)
   check(is_text(name), "rwfile.file", 2, "name", "string", name)
   if data == nil then
      return read(io, name)
   end
   -- Checked first, since opening the file for writing empties it.
   check(is_text(data), "rwfile.file", 3, "data", "string", data)
   return write(io, name, data)
end

function rwfile.json(io, name, tab)
   check(is_io(io), "rwfile.json", 1, "io", "io object", io)
   check(is_text(name), "rwfile.json", 2, "name", "string", name)
   if tab ~= nil then
      check(type(tab) == "table", "rwfile.json", 3, "table", "table", tab)
      return write(io, name, ba.json.encode(tab))
   end
   local text, reason = read(io, name)
   if not text then
      return nil, reason
   end
   -- Some editors put a byte order mark at the beginning of a file.
   local value = ba.json.decode((text:gsub("^\u{FEFF}", "")))
   if value == nil then
      return nil, "jsonerr"
   end
   return value
end

return rwfile
