--- Lua values as readable Lua text, with the interface of the well-known module of this name.
--
--     serpent.line(value [, options])    one line
--     serpent.block(value [, options])   one line per field
--     serpent.dump(value [, options])    a chunk that rebuilds the value, shared and cyclic tables included
--     serpent.load(text [, options])     true and the value that the text stands for, or false and a message;
--                                        the text can call no global function unless options.safe is false
--
-- Options, all optional:
--     indent         text of one indentation step; makes one line per field
--     comment        addresses of tables and functions as comments: true, false, or the number of levels that get them
--     sortkeys       true: in natural order ("a2" before "a10"); a function(keys, table) sorts the list in place
--     compact        no blanks
--     sparse         no `nil` for the holes of an array
--     nocode         functions as empty ones instead of bytecode
--     nohuge         infinities and NaN by their names in quotes
--     fatal          raise an error for what has no text (userdata, coroutines) instead of writing its name in quotes
--     name           write a chunk that builds a local of that name, and returns it
--     numformat      format of floats; without it the shortest that reads back the same
--     metatostring   false: ignore the metamethod __tostring
--     maxlevel       tables nested deeper are written as {}
--     maxnum         fields written of each table
--     keyallow, keyignore         sets of keys to write, or not to
--     valignore, valtypeignore    sets of values, or of type names, not to write
--     custom         function(tag, head, body, tail, level) that gives the text of a table

local keywords = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or repeat return then true
            until while]]):gmatch "%a+" do
   keywords[word] = true
end

--- Functions that have a name everywhere.
local builtins = {}
for _, module in ipairs { "coroutine", "debug", "io", "math", "os", "string", "table", "utf8" } do
   for name, value in pairs(_G[module] or {}) do
      if type(value) == "function" then
         builtins[value] = module .. "." .. name
      end
   end
end
for name, value in pairs(_G) do
   if type(value) == "function" then
      builtins[value] = name
   end
end

local function quote(text)
   return (("%q"):format(text):gsub("\n", "n"):gsub("\26", "\\026"))
end

local function is_name(key)
   return type(key) == "string" and key:find "^[%a_][%w_]*$" and not keywords[key]
end

--- Digits are padded, so that numbers within names compare by value.
local function sort_text(key)
   local rank = type(key) == "number" and "a" or type(key) == "string" and "b" or "z"
   local padded = tostring(key):gsub("%d+", function(digits)
      return ("0"):rep(20 - #digits) .. digits
   end)
   return rank .. padded
end

local function sort_naturally(keys)
   local texts = {}
   for _, key in ipairs(keys) do
      texts[key] = sort_text(key)
   end
   table.sort(keys, function(a, b)
      if type(a) == "number" and type(b) == "number" then
         return a < b
      end
      return texts[a] < texts[b]
   end)
end

--- One piece of work: what was written so far, and what has to follow it.
local Writer = {}
Writer.__index = Writer

local function new_writer(options)
   local comment = options.comment
   return setmetatable({
      options = options,
      comment_levels = comment == true and math.huge or comment or 0,
      space = options.compact and "" or " ",
      paths = {}, -- of the tables that were written
      statements = {}, -- that follow the main table, to add what a constructor cannot say
      key_count = 0, -- tables that are keys get names, too
      incomplete = false,
   }, Writer)
end

function Writer:comment(level, text)
   return level < self.comment_levels and " --[[" .. text .. "]]" or ""
end

function Writer:number(value, level)
   local options = self.options
   if value ~= value or value == math.huge or value == -math.huge then
      local name = value ~= value and "0/0" or value > 0 and "math.huge" or "-math.huge"
      return options.nohuge and quote(tostring(value)) or name .. self:comment(level, tostring(value))
   elseif math.type(value) == "integer" then
      -- The smallest integer has no decimal form: -9223372036854775808 would be a float.
      return value == math.mininteger and "math.mininteger" or tostring(value)
   elseif options.numformat then
      return options.numformat:format(value)
   end
   local short = ("%.14g"):format(value)
   local text = tonumber(short) == value and short or ("%.17g"):format(value)
   return text:find "[.e]" and text or text .. ".0"
end

function Writer:func(value, level)
   local address = self:comment(level, ("function: %p"):format(value))
   if builtins[value] then
      return builtins[value] .. address
   elseif self.options.nocode then
      return "function() --[[..skipped..]] end" .. address
   end
   local dumped, code = pcall(string.dump, value)
   return dumped and "((loadstring or load)(" .. quote(code) .. ",'@serialized'))" .. address or self:nameless(value)
end

function Writer:nameless(value)
   if self.options.fatal then
      error("Can't serialize " .. tostring(value), 0)
   end
   return quote(tostring(value))
end

--- Text of a value. `path` is the expression that reaches it in the rebuilt table.
function Writer:value(value, path, level, tag)
   local kind = type(value)
   tag = tag or ""
   if kind == "table" then
      return self:table_or_text(value, path, level, tag)
   elseif kind == "string" then
      return tag .. quote(value)
   elseif kind == "number" then
      return tag .. self:number(value, level)
   elseif kind == "boolean" or kind == "nil" then
      return tag .. tostring(value)
   elseif kind == "function" then
      return tag .. self:func(value, level)
   end
   return tag .. self:nameless(value)
end

function Writer:table_or_text(value, path, level, tag)
   local meta = getmetatable(value)
   local as_text = type(meta) == "table" and rawget(meta, "__tostring")
   if as_text and self.options.metatostring ~= false then
      local ok, text = pcall(tostring, value)
      if ok then
         return tag .. quote(text) .. self:comment(level, ("table: %p"):format(value))
      end
   end
   self.paths[value] = path
   local maxlevel = self.options.maxlevel
   if maxlevel and level >= maxlevel then
      return tag .. "{}" .. self:comment(level, "maxlvl")
   end
   local fields = self:fields(value, path, level)
   return self:braces(tag, fields, level) .. self:comment(level, ("table: %p"):format(value))
end

function Writer:braces(tag, fields, level)
   local indent = self.options.indent
   local separator, head, tail = "," .. self.space, "{", "}"
   if indent and #fields > 0 then
      local inner = "\n" .. indent:rep(level + 1)
      separator, head, tail = "," .. inner, "{" .. inner, "\n" .. indent:rep(level) .. "}"
   end
   local body = table.concat(fields, separator)
   local custom = self.options.custom
   return custom and custom(tag, head, body, tail, level) or tag .. head .. body .. tail
end

--- The items of an array first, then the other keys in order.
function Writer:fields(value, path, level)
   local fields, maxnum = {}, self.options.maxnum or math.huge
   local items = self:item_count(value)
   for index = 1, math.min(items, maxnum) do
      if not self:is_ignored(index, rawget(value, index)) then
         fields[#fields + 1] = self:field(index, rawget(value, index), path, level, true)
      elseif rawget(value, index) ~= nil then
         items = index - 1 -- the rest needs its keys
         break
      end
   end
   for _, key in ipairs(self:keys(value, items)) do
      if #fields >= maxnum then
         break
      end
      fields[#fields + 1] = self:field(key, rawget(value, key), path, level, false)
   end
   return fields
end

--- How many items are written without their key.
function Writer:item_count(value)
   local count = rawlen(value)
   if self.options.sparse then
      for index = 1, count do
         if rawget(value, index) == nil then
            return index - 1
         end
      end
   end
   return count
end

function Writer:keys(value, items)
   local keys = {}
   for key, field in next, value do
      local is_item = math.type(key) == "integer" and key >= 1 and key <= items
      if not is_item and not self:is_ignored(key, field) then
         keys[#keys + 1] = key
      end
   end
   local sort = self.options.sortkeys
   if sort then
      (type(sort) == "function" and sort or sort_naturally)(keys, value)
   end
   return keys
end

function Writer:is_ignored(key, value)
   local options = self.options
   return options.keyallow and not options.keyallow[key]
      or options.keyignore and options.keyignore[key]
      or value ~= nil and options.valignore and options.valignore[value]
      or options.valtypeignore and options.valtypeignore[type(value)]
end

--- One field, or nothing when only a statement after the table can add it.
function Writer:field(key, value, path, level, is_item)
   if type(key) == "table" and (self.options.name or self.paths[key]) then
      self:field_with_table_key(key, value, path)
      return nil
   end
   local key_text = is_name(key) and key or "[" .. self:value(key, "", level + 1) .. "]"
   local field_path = path .. (is_name(key) and "." .. key or key_text)
   local tag = is_item and "" or key_text .. self.space .. "=" .. self.space
   if type(value) == "table" and self.paths[value] then
      self:later(field_path, self.paths[value])
      return tag .. "nil" .. self:comment(level, "ref")
   end
   return self:value(value, field_path, level + 1, tag)
end

function Writer:field_with_table_key(key, value, path)
   if not self.options.name then
      self.incomplete = true
      return
   end
   if not self.paths[key] then
      self.key_count = self.key_count + 1
      self:define("__[" .. self.key_count .. "]", key)
   end
   local field_path = path .. "[" .. self.paths[key] .. "]"
   if type(value) == "table" and self.paths[value] then
      self:later(field_path, self.paths[value])
   else
      self:define(field_path, value)
   end
end

--- A statement that gives a table field a new value. Its place is taken first: what is found within comes after it.
function Writer:define(path, value)
   local place = #self.statements + 1
   self.statements[place] = ""
   self.statements[place] = self:value(value, path, 0, path .. self.space .. "=" .. self.space)
end

--- A statement that makes two fields share a table.
function Writer:later(path, target)
   if self.options.name then
      self.statements[#self.statements + 1] = path .. self.space .. "=" .. self.space .. target
   else
      self.incomplete = true
   end
end

local function serialize(value, options)
   local writer = new_writer(options or {})
   local name, space = writer.options.name, writer.space
   if not name then
      local text = writer:value(value, "", 0)
      local warning = " --[[incomplete output with shared/self-references skipped]]"
      return text .. (writer.incomplete and writer.comment_levels > 0 and warning or "")
   end
   local lines = { "do local " .. writer:value(value, name, 0, name .. space .. "=" .. space) }
   if writer.key_count > 0 then
      lines[2] = "local __" .. space .. "=" .. space .. "{}"
   end
   table.move(writer.statements, 1, #writer.statements, #lines + 1, lines)
   local separator = writer.options.indent and "\n" or ";" .. space
   return table.concat(lines, separator) .. separator .. "return " .. name .. separator .. "end"
end

local function with_defaults(name, defaults)
   return function(value, options)
      if options ~= nil and type(options) ~= "table" then
         local message = "bad argument #2 'options' to 'serpent.%s' (table expected, got %s)"
         error(message:format(name, type(options)), 2)
      end
      local merged = {}
      for key, default in pairs(defaults) do
         merged[key] = default
      end
      for key, option in pairs(options or {}) do
         merged[key] = option
      end
      return serialize(value, merged)
   end
end

local function load_text(text, options)
   if type(text) ~= "string" then
      error(("bad argument #1 'text' to 'serpent.load' (string expected, got %s)"):format(type(text)), 2)
   end
   if options ~= nil and type(options) ~= "table" then
      error(("bad argument #2 'options' to 'serpent.load' (table expected, got %s)"):format(type(options)), 2)
   end
   local safe = not options or options.safe ~= false
   local environment = safe and { math = { huge = math.huge, mininteger = math.mininteger } } or _G
   local chunk = load("return " .. text, "=serpent", "t", environment)
   local message
   if not chunk then
      chunk, message = load(text, "=serpent", "t", environment)
   end
   if not chunk then
      return false, message
   end
   return pcall(chunk)
end

return {
   _NAME = "serpent",
   serialize = with_defaults("serialize", {}),
   line = with_defaults("line", { sortkeys = true, comment = true }),
   block = with_defaults("block", { indent = "  ", sortkeys = true, comment = true }),
   dump = with_defaults("dump", { name = "_", compact = true, sparse = true }),
   load = load_text,
}
