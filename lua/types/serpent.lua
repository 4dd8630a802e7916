---@meta serpent

---@class smq.serpent
local serpent = {}

---A value as Lua source, on several lines.
---@param value any
---@param options? table
---@return string
function serpent.block(value, options) end

---The same on one line.
---@param value any
---@param options? table
---@return string
function serpent.line(value, options) end

---Source that makes the value again.
---@param value any
---@param options? table
---@return string
function serpent.dump(value, options) end

---A value as Lua source, as the options say alone.
---@param value any
---@param options? table
---@return string
function serpent.serialize(value, options) end

---The value that source stands for: true and the value, or false and why there is none. The source finds no functions,
---unless `options.safe` is false.
---@param text string
---@param options? {safe: boolean?}
---@return boolean done, any value
function serpent.load(text, options) end

return serpent
