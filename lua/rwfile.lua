-- rwfile: reads and writes a whole file of an app, as text or as JSON.
local M = {}

-- file(io, name) returns the text; file(io, name, data) writes it and returns true. nil, reason when it fails.
function M.file(io, name, data)
  local f, err = io:open(name, data and "w" or "r")
  if not f then return nil, err end
  local result
  if data then
    result, err = f:write(data)
  else
    result, err = f:read("*a")
  end
  f:close()
  if result == nil then return nil, err end
  return result
end

-- json(io, name) returns the table; json(io, name, table) writes it. nil, "jsonerr" when the file is not JSON.
function M.json(io, name, value)
  if value then return M.file(io, name, ba.json.encode(value)) end
  local text, err = M.file(io, name)
  if not text then return nil, err end
  local result = ba.json.decode((text:gsub("^\xEF\xBB\xBF", "")))
  if result == nil then return nil, "jsonerr" end
  return result
end

return M
