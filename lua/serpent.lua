-- serpent: Lua values as Lua source text, with the interface of the module of that name.
--   line(v[, opt])   one line, keys sorted
--   block(v[, opt])  indented, keys sorted
--   dump(v[, opt])   a chunk that returns the value when loaded; shared and recursive tables come back shared
--   load(text)       true and the value of such a text, or false and why not
-- Options: indent, name, comment (false or how deep), sortkeys, maxlevel, maxnum, nocode, sparse, compact, valignore,
-- keyallow, keyignore, valtypeignore, custom, numformat.
local keywords = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or repeat return then true
until while]]):gmatch("%a+") do keywords[word] = true end

local function quote(text)
  return (("%q"):format(text):gsub("\n", "n"):gsub("\26", "\\026"))
end

local function number(value, format)
  if value ~= value then return "0/0" end
  if value == math.huge then return "math.huge" end
  if value == -math.huge then return "-math.huge" end
  if math.type(value) == "integer" then return tostring(value) end
  return (format or "%.17g"):format(value)
end

-- Numbers before strings before all else; numbers by value, strings so that "a2" precedes "a10".
local function sorted(keys)
  local rank = { number = "1", string = "2" }
  local function padded(digits) return ("%012d"):format(math.tointeger(tonumber(digits)) or 0) end
  local order = {}
  for _, key in ipairs(keys) do
    local shown = type(key) == "number" and ("%030.10f"):format(key) or tostring(key):gsub("%d+", padded)
    order[key] = (rank[type(key)] or "3") .. shown
  end
  table.sort(keys, function(a, b) return order[a] < order[b] end)
end

local Writer = {}
Writer.__index = Writer

function Writer:comment(value, level)
  local comment = self.opt.comment
  if comment == false or comment == nil or (type(comment) == "number" and level >= comment) then return "" end
  local ok, shown = pcall(tostring, value)
  return "--[[" .. (ok and shown:gsub("%]%]", "] ]") or type(value)) .. "]]"
end

function Writer:scalar(value)
  local kind = type(value)
  if kind == "number" then return number(value, self.opt.numformat) end
  if kind == "string" then return quote(value) end
  if kind == "nil" or kind == "boolean" then return tostring(value) end
  if kind == "function" and self.opt.nocode then return "function() --[[..skipped..]] end" end
  return quote(tostring(value))
end

function Writer:key(key)
  if type(key) == "string" and key:match("^[%a_][%w_]*$") and not keywords[key] then return key end
  return "[" .. (type(key) == "table" and quote(tostring(key)) or self:scalar(key)) .. "]"
end

local function child(path, key, shown)
  return path .. (shown == key and "." .. key or shown)
end

function Writer:skipped(key, value)
  local opt = self.opt
  return (opt.valignore and opt.valignore[value]) or (opt.keyallow and not opt.keyallow[key])
    or (opt.keyignore and opt.keyignore[key]) or (opt.valtypeignore and opt.valtypeignore[type(value)])
end

-- The keys in the order they are written: the sequence part first.
function Writer:keys(value)
  local length, keys, rest = #value, {}, {}
  if self.opt.maxnum then length = math.min(length, self.opt.maxnum) end
  for i = 1, length do keys[i] = i end
  for key in pairs(value) do
    local in_sequence = math.type(key) == "integer" and key >= 1 and key <= length
    if not in_sequence then rest[#rest + 1] = key end
  end
  local sortkeys = self.opt.sortkeys
  if type(sortkeys) == "function" then sortkeys(rest, value) elseif sortkeys then sorted(rest) end
  table.move(rest, 1, #rest, length + 1, keys)
  return keys, length
end

function Writer:table(value, path, level)
  local opt, parts = self.opt, {}
  if opt.maxlevel and level >= opt.maxlevel then return "{--[[..max..]]}" end
  self.seen[value] = path
  local keys, length = self:keys(value)
  for i, key in ipairs(keys) do
    if opt.maxnum and i > opt.maxnum then break end
    local item = value[key]
    if not self:skipped(key, item) then
      local shown = self:key(key)
      local text = self:value(item, child(path, key, shown), level + 1)
      if i > length or opt.sparse == "keys" then text = shown .. self.equals .. text end
      parts[#parts + 1] = text
    end
  end
  local indent = opt.indent
  local body = #parts == 0 and ""
    or indent and "\n" .. indent:rep(level + 1) .. table.concat(parts, ",\n" .. indent:rep(level + 1)) .. "\n" .. indent:rep(level)
    or table.concat(parts, self.comma)
  if opt.custom then return opt.custom(path, "{", body, "}", level) end
  return "{" .. body .. "}" .. self:comment(value, level)
end

function Writer:value(value, path, level)
  local meta = getmetatable(value)
  if type(meta) == "table" and meta.__tostring and self.opt.metatostring ~= false and type(value) == "table" then
    return quote(tostring(value)) .. self:comment(value, level)
  end
  if type(value) ~= "table" then
    local plain = type(value) == "function" or type(value) == "userdata" or type(value) == "thread"
    return self:scalar(value) .. (plain and self:comment(value, level) or "")
  end
  local seen = self.seen[value]
  if not seen then return self:table(value, path, level) end
  self.fixes[#self.fixes + 1] = path .. self.equals .. seen
  return "nil--[[ref]]"
end

local function serialize(value, opt)
  local writer = setmetatable({ opt = opt, seen = {}, fixes = {} }, Writer)
  writer.equals = opt.compact and "=" or " = "
  writer.comma = opt.compact and "," or ", "
  local name = opt.name or "_"
  local text = writer:value(value, name, 0)
  if not opt.name then return text end
  local fixes = #writer.fixes > 0 and table.concat(writer.fixes, ";") .. ";" or ""
  return ("do local %s%s%s;%sreturn %s;end"):format(name, writer.equals, text, fixes, name)
end

local function merged(defaults, opt)
  local result = {}
  for key, value in pairs(defaults) do result[key] = value end
  for key, value in pairs(opt or {}) do result[key] = value end
  return result
end

local M = { _NAME = "serpent" }

function M.serialize(value, opt) return serialize(value, opt or {}) end
function M.line(value, opt) return serialize(value, merged({ sortkeys = true, comment = true }, opt)) end
function M.block(value, opt) return serialize(value, merged({ indent = "  ", sortkeys = true, comment = true }, opt)) end
function M.dump(value, opt) return serialize(value, merged({ name = "_", compact = true, sparse = true }, opt)) end

function M.load(text, opt)
  local env = not (opt and opt.safe == false) and {} or nil
  local chunk, err = load("return " .. text, "=serpent", "t", env)
  if not chunk then chunk, err = load(text, "=serpent", "t", env) end
  if not chunk then return false, err end
  return pcall(chunk)
end

return M
