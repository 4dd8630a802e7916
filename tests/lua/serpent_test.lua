local serpent = require "serpent"

local function line(value, options)
   options = options or {}
   options.comment = options.comment or false
   return serpent.line(value, options)
end

local function block(value, options)
   options = options or {}
   options.comment = options.comment or false
   return serpent.block(value, options)
end

--- Runs what dump wrote.
local function copy(value, options)
   return assert(load(serpent.dump(value, options)))()
end

test("line writes a table on one line, array first, keys sorted", function()
   same(line { 1, 2, b = "x", a = true }, '{1, 2, a = true, b = "x"}')
   same(line {}, "{}")
   same(line { { {} } }, "{{{}}}")
end)

test("block writes one field per line", function()
   same(block { 1, a = { b = {}, c = 2 } }, "{\n  1,\n  a = {\n    b = {},\n    c = 2\n  }\n}")
   same(block({ 1 }, { indent = "\t" }), "{\n\t1\n}")
   same(block {}, "{}")
end)

test("values that are no tables stand alone", function()
   same(line "x", '"x"')
   same(line(5), "5")
   same(line(nil), "nil")
   same(block(false), "false")
end)

test("comments name the tables", function()
   local t = { a = {} }
   same(serpent.line(t), ("{a = {} --[[table: %p]]} --[[table: %p]]"):format(t.a, t))
   same(serpent.line(t, { comment = 1 }), ("{a = {}} --[[table: %p]]"):format(t))
   same(serpent.block(t), ("{\n  a = {} --[[table: %p]]\n} --[[table: %p]]"):format(t.a, t))
end)

test("keys that are no names stand in brackets", function()
   same(line { ["a b"] = 1, ["end"] = 2, _x1 = 3 }, '{_x1 = 3, ["a b"] = 1, ["end"] = 2}')
   same(line { [0] = 1, [-1] = 2, [1.5] = 3, [true] = 4 }, "{[-1] = 2, [0] = 1, [1.5] = 3, [true] = 4}")
end)

test("keys are sorted naturally", function()
   same(line { a10 = 1, a9 = 2, [10] = 3, [9] = 4 }, "{[9] = 4, [10] = 3, a9 = 2, a10 = 1}")
   local function backwards(keys)
      table.sort(keys, function(a, b) return a > b end)
   end
   same(line({ a = 1, b = 2 }, { sortkeys = backwards }), "{b = 2, a = 1}")
end)

test("strings are quoted on one line", function()
   same(line "a\nb\"c\\d\0e\r", [["a\nb\"c\\d\0e\13"]])
   same(load("return " .. line "\26\n\0001")(), "\26\n\0001")
end)

test("numbers read back as the same", function()
   for _, number in ipairs { 0.1, 1 / 3, 2.0, 1e300, -0.0, 5, math.maxinteger, math.mininteger, math.huge } do
      local back = load("return " .. line(number))()
      same(back, number)
      same(math.type(back), math.type(number))
   end
   same(line { 0.1, 2.0, 3 }, "{0.1, 2.0, 3}")
   same(line { math.huge, -math.huge, 0 / 0 }, "{math.huge, -math.huge, 0/0}")
   same(line({ math.huge }, { nohuge = true }), '{"inf"}')
   same(line({ 1 / 3 }, { numformat = "%.2f" }), "{0.33}")
end)

test("holes of arrays are nil unless sparse", function()
   same(line { 1, nil, 3 }, "{1, nil, 3}")
   same(line({ 1, nil, 3 }, { sparse = true }), "{1, [3] = 3}")
end)

test("compact leaves out blanks", function()
   same(line({ 1, 2, a = { b = 3 } }, { compact = true }), "{1,2,a={b=3}}")
end)

test("functions are code, a skipped body or a known name", function()
   local function five() return 5 end
   same(line({ five }, { nocode = true }), "{function() --[[..skipped..]] end}")
   same(line { print, math.sin }, "{print, math.sin}")
   same(copy { five }[1](), 5)
end)

test("what has no text becomes its name, or an error", function()
   local thread = coroutine.create(print)
   same(line { thread }, '{"' .. tostring(thread) .. '"}')
   same(pcall(line, { thread }, { fatal = true }), false)
end)

test("maxlevel and maxnum cut", function()
   same(line({ a = { b = { c = 1 } } }, { maxlevel = 1 }), "{a = {}}")
   same(serpent.line({ a = { 1 } }, { maxlevel = 1 }):match "{a = {} %-%-%[%[maxlvl%]%]}" ~= nil, true)
   same(line({ 1, 2, 3, a = 1 }, { maxnum = 2 }), "{1, 2}")
   same(line({ 1, a = 1, b = 2 }, { maxnum = 2 }), "{1, a = 1}")
end)

test("keys and values can be left out", function()
   local t = { a = 1, b = "x", c = print }
   same(line(t, { keyignore = { c = true } }), '{a = 1, b = "x"}')
   same(line(t, { keyallow = { a = true } }), "{a = 1}")
   same(line(t, { valignore = { [1] = true, [print] = true } }), '{b = "x"}')
   same(line(t, { valtypeignore = { ["function"] = true, string = true } }), "{a = 1}")
   same(line({ 1, "x", 3 }, { valtypeignore = { string = true } }), "{1, [3] = 3}")
end)

test("__tostring speaks for a table", function()
   local t = setmetatable({ a = 1 }, { __tostring = function() return "me" end })
   same(line { t }, '{"me"}')
   same(line({ t }, { metatostring = false }), "{{a = 1}}")
end)

test("metamethods do not change what is written", function()
   local t = setmetatable({ 1 }, { __index = error, __len = error, __pairs = error })
   same(line(t), "{1}")
end)

test("custom rewrites each table", function()
   local function upper(tag, head, body, tail, level)
      return tag:upper() .. head .. level .. ":" .. body .. tail
   end
   same(line({ a = { 1 } }, { custom = upper }), "{0:A = {1:1}}")
end)

test("cycles and shared tables are named and left out", function()
   local t = { 1 }
   t.me = t
   same(line(t), "{1, me = nil}")
   local text = serpent.line(t)
   same(text:match "{1, me = nil %-%-%[%[ref%]%]}" ~= nil, true)
   same(text:match "%-%-%[%[incomplete output with shared/self%-references skipped%]%]$" ~= nil, true)
   local shared = {}
   same(line { shared, shared }, "{{}, nil}")
end)

test("tables may be keys", function()
   same(line { [{ 1 }] = 2 }, "{[{1}] = 2}")
   local key = {}
   key.me = key
   same(line { [key] = 1 }, "{[{me = nil}] = 1}")
   local t = {}
   t[t] = 1
   same(line(t), "{}")
end)

test("dump is a chunk that returns the table", function()
   same(serpent.dump { 1, a = 2 }, "do local _={1,a=2};return _;end")
   same(serpent.dump({ 1 }, { name = "x", compact = false, indent = " " }), "do local x = {\n 1\n}\nreturn x\nend")
end)

test("dump keeps cycles, shared tables and table keys", function()
   local t = { list = { 1, 2 }, [5] = {} }
   t.me, t.again, t.list[3] = t, t.list, t[5]
   t[t.list] = "by list"
   local key = { deep = { t } }
   t[key] = { key, key.deep }
   t["odd name"] = t
   for _, options in ipairs { {}, { indent = "  ", compact = false } } do
      local c = copy(t, options)
      assert(c.me == c)
      assert(c["odd name"] == c)
      assert(c.again == c.list)
      assert(c.list[3] == c[5])
      same(c[c.list], "by list")
      local copied_key = nil
      for k in pairs(c) do
         if type(k) == "table" and k.deep then copied_key = k end
      end
      assert(copied_key.deep[1] == c)
      assert(c[copied_key][1] == copied_key)
      assert(c[copied_key][2] == copied_key.deep)
   end
end)

test("load reads what was written", function()
   local ok, t = serpent.load(serpent.block { 1, { a = math.huge } })
   same(ok, true)
   same(t[2].a, math.huge)
   ok, t = serpent.load(serpent.dump { 7 })
   same(t[1], 7)
end)

test("load refuses calls unless told otherwise", function()
   local ok, message = serpent.load "os.time()"
   same(ok, false)
   same(type(message), "string")
   same(serpent.load("{", {}), false)
   ok, message = serpent.load("math.abs(-1)", { safe = false })
   same(message, 1)
   same(serpent.load "\27Lua", false)
end)
