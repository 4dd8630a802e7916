--- Whole files in one call.
--
--     rwfile.file(io, name)           the text of a file, or nil and the reason (`enoent`, ...)
--     rwfile.file(io, name, data)     writes it anew: true, or nil and the reason
--     rwfile.json(io, name)           the table that a JSON file holds; bad JSON is nil, `jsonerr`
--     rwfile.json(io, name, table)    writes a table as JSON
--
-- `io` is a file system object, such as the `io` of an app.

local rwfile = {}

local function check(method, io)
   -- Called protected, since some userdata raises an error when it is indexed.
   local fine, can_open = pcall(function() return io.open ~= nil end)
   if not (fine and can_open) or type(io) == "string" then
      error(("bad argument #1 'io' to '%s' (io object expected, got %s)"):format(method, type(io)), 3)
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
   check("rwfile.file", io)
   if data ~= nil then
      -- Checked first, since opening the file for writing empties it.
      if type(data) ~= "string" and type(data) ~= "number" then
         error(("bad argument #3 'data' to 'rwfile.file' (string expected, got %s)"):format(type(data)), 2)
      end
      return write(io, name, data)
   end
   return read(io, name)
end

function rwfile.json(io, name, tab)
   check("rwfile.json", io)
   if tab ~= nil then
      if type(tab) ~= "table" then
         error(("bad argument #3 'table' to 'rwfile.json' (table expected, got %s)"):format(type(tab)), 2)
      end
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
