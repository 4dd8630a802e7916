---@meta rwfile

---@class smq.rwfile
local rwfile = {}

---Reads a file, or with `data` writes it.
---@param io smq.Io
---@param name string
---@param data? string
---@return string|true|nil result, string? why
function rwfile.file(io, name, data) end

---Reads a file as JSON, or with `value` writes it.
---@param io smq.Io
---@param name string
---@param value? table
---@return table|true|nil result, string? why
function rwfile.json(io, name, value) end

return rwfile
