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

return {
    ["line writes a table on one line, array first, keys sorted"] = function()
        equal(line { 1, 2, b = "x", a = true }, '{1, 2, a = true, b = "x"}')
        equal(line {}, "{}")
        equal(line { { {} } }, "{{{}}}")
    end,

    ["block writes one field per line"] = function()
        equal(block { 1, a = { b = {}, c = 2 } }, "{\n  1,\n  a = {\n    b = {},\n    c = 2\n  }\n}")
        equal(block({ 1 }, { indent = "\t" }), "{\n\t1\n}")
        equal(block {}, "{}")
    end,

    ["values that are no tables stand alone"] = function()
        equal(line "x", '"x"')
        equal(line(5), "5")
        equal(line(nil), "nil")
        equal(block(false), "false")
    end,

    ["comments name the tables"] = function()
        local t = { a = {} }
        equal(serpent.line(t), ("{a = {} --[[table: %p]]} --[[table: %p]]"):format(t.a, t))
        equal(serpent.line(t, { comment = 1 }), ("{a = {}} --[[table: %p]]"):format(t))
        equal(serpent.block(t), ("{\n  a = {} --[[table: %p]]\n} --[[table: %p]]"):format(t.a, t))
    end,

    ["keys that are no names stand in brackets"] = function()
        equal(line { ["a b"] = 1, ["end"] = 2, _x1 = 3 }, '{_x1 = 3, ["a b"] = 1, ["end"] = 2}')
        equal(line { [0] = 1, [-1] = 2, [1.5] = 3, [true] = 4 }, "{[-1] = 2, [0] = 1, [1.5] = 3, [true] = 4}")
    end,

    ["keys are sorted naturally"] = function()
        equal(line { a10 = 1, a9 = 2, [10] = 3, [9] = 4 }, "{[9] = 4, [10] = 3, a9 = 2, a10 = 1}")
        local function backwards(keys)
            table.sort(keys, function(a, b) return a > b end)
        end
        equal(line({ a = 1, b = 2 }, { sortkeys = backwards }), "{b = 2, a = 1}")
    end,

    ["strings are quoted on one line"] = function()
        equal(line "a\nb\"c\\d\0e\r", [["a\nb\"c\\d\0e\13"]])
        equal(load("return " .. line "\26\n\0001")(), "\26\n\0001")
    end,

    ["numbers read back as the same"] = function()
        for _, number in ipairs { 0.1, 1 / 3, 2.0, 1e300, -0.0, 5, math.maxinteger, math.mininteger, math.huge } do
            local back = load("return " .. line(number))()
            equal(back, number)
            equal(math.type(back), math.type(number))
        end
        equal(line { 0.1, 2.0, 3 }, "{0.1, 2.0, 3}")
        equal(line { math.huge, -math.huge, 0 / 0 }, "{math.huge, -math.huge, 0/0}")
        equal(line({ math.huge }, { nohuge = true }), '{"inf"}')
        equal(line({ 1 / 3 }, { numformat = "%.2f" }), "{0.33}")
    end,

    ["holes of arrays are nil unless sparse"] = function()
        equal(line { 1, nil, 3 }, "{1, nil, 3}")
        equal(line({ 1, nil, 3 }, { sparse = true }), "{1, [3] = 3}")
    end,

    ["compact leaves out blanks"] = function()
        equal(line({ 1, 2, a = { b = 3 } }, { compact = true }), "{1,2,a={b=3}}")
    end,

    ["functions are code, a skipped body or a known name"] = function()
        local function five() return 5 end
        equal(line({ five }, { nocode = true }), "{function() --[[..skipped..]] end}")
        equal(line { print, math.sin }, "{print, math.sin}")
        equal(copy { five }[1](), 5)
    end,

    ["what has no text becomes its name, or an error"] = function()
        local thread = coroutine.create(print)
        equal(line { thread }, '{"' .. tostring(thread) .. '"}')
        equal(pcall(line, { thread }, { fatal = true }), false)
    end,

    ["maxlevel and maxnum cut"] = function()
        equal(line({ a = { b = { c = 1 } } }, { maxlevel = 1 }), "{a = {}}")
        equal(serpent.line({ a = { 1 } }, { maxlevel = 1 }):match "{a = {} %-%-%[%[maxlvl%]%]}" ~= nil, true)
        equal(line({ 1, 2, 3, a = 1 }, { maxnum = 2 }), "{1, 2}")
        equal(line({ 1, a = 1, b = 2 }, { maxnum = 2 }), "{1, a = 1}")
    end,

    ["keys and values can be left out"] = function()
        local t = { a = 1, b = "x", c = print }
        equal(line(t, { keyignore = { c = true } }), '{a = 1, b = "x"}')
        equal(line(t, { keyallow = { a = true } }), "{a = 1}")
        equal(line(t, { valignore = { [1] = true, [print] = true } }), '{b = "x"}')
        equal(line(t, { valtypeignore = { ["function"] = true, string = true } }), "{a = 1}")
        equal(line({ 1, "x", 3 }, { valtypeignore = { string = true } }), "{1, [3] = 3}")
    end,

    ["__tostring speaks for a table"] = function()
        local t = setmetatable({ a = 1 }, { __tostring = function() return "me" end })
        equal(line { t }, '{"me"}')
        equal(line({ t }, { metatostring = false }), "{{a = 1}}")
    end,

    ["metamethods do not change what is written"] = function()
        local t = setmetatable({ 1 }, { __index = error, __len = error, __pairs = error })
        equal(line(t), "{1}")
    end,

    ["custom rewrites each table"] = function()
        local function upper(tag, head, body, tail, level)
            return tag:upper() .. head .. level .. ":" .. body .. tail
        end
        equal(line({ a = { 1 } }, { custom = upper }), "{0:A = {1:1}}")
    end,

    ["cycles and shared tables are named and left out"] = function()
        local t = { 1 }
        t.me = t
        equal(line(t), "{1, me = nil}")
        local text = serpent.line(t)
        equal(text:match "{1, me = nil %-%-%[%[ref%]%]}" ~= nil, true)
        equal(text:match "%-%-%[%[incomplete output with shared/self%-references skipped%]%]$" ~= nil, true)
        local shared = {}
        equal(line { shared, shared }, "{{}, nil}")
    end,

    ["tables may be keys"] = function()
        equal(line { [{ 1 }] = 2 }, "{[{1}] = 2}")
        local key = {}
        key.me = key
        equal(line { [key] = 1 }, "{[{me = nil}] = 1}")
        local t = {}
        t[t] = 1
        equal(line(t), "{}")
    end,

    ["dump is a chunk that returns the table"] = function()
        equal(serpent.dump { 1, a = 2 }, "do local _={1,a=2};return _;end")
        equal(serpent.dump({ 1 }, { name = "x", compact = false, indent = " " }), "do local x = {\n 1\n}\nreturn x\nend")
    end,

    ["dump keeps cycles, shared tables and table keys"] = function()
        local t = { list = { 1, 2 }, [5] = {} }
        t.me, t.again, t.list[3] = t, t.list, t[5]
        t[t.list] = "by list"
        local key = { deep = { t } }
        t[key] = { key, key.deep }
        t["odd name"] = t
        for _, options in ipairs { {}, { indent = "  ", compact = false } } do
            local c = copy(t, options)
            equal(c.me, c)
            equal(c["odd name"], c)
            equal(c.again, c.list)
            equal(c.list[3], c[5])
            equal(c[c.list], "by list")
            local copied_key = nil
            for k in pairs(c) do
                if type(k) == "table" and k.deep then copied_key = k end
            end
            equal(copied_key.deep[1], c)
            equal(c[copied_key][1], copied_key)
            equal(c[copied_key][2], copied_key.deep)
        end
    end,

    ["load reads what was written"] = function()
        local ok, t = serpent.load(serpent.block { 1, { a = math.huge } })
        equal(ok, true)
        equal(t[2].a, math.huge)
        ok, t = serpent.load(serpent.dump { 7 })
        equal(t[1], 7)
    end,

    ["load refuses calls unless told otherwise"] = function()
        local ok, message = serpent.load "os.time()"
        equal(ok, false)
        equal(type(message), "string")
        equal(serpent.load("{", {}), false)
        ok, message = serpent.load("math.abs(-1)", { safe = false })
        equal(message, 1)
        equal(serpent.load "\27Lua", false)
    end,
}
