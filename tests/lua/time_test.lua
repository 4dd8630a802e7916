-- ba.datetime and ba.clock.

test("the clock counts milliseconds", function()
   local before = ba.clock()
   same(math.type(before), "integer")
   ba.sleep(20)
   local passed = ba.clock() - before
   assert(passed >= 20 and passed < 20000, passed)
end)

test("a moment from each of its forms", function()
   same(ba.datetime"1970-01-02T00:00:00Z":ticks(), 86400)
   same({ ba.datetime"2024-02-29T12:34:56.789+02:00":ticks() }, { 1709202896, 789000000, 120 })
   same({ ba.datetime(86400, 5, -90):ticks() }, { 86400, 5, -90 })
   same({ ba.datetime(-1):ticks() }, { -1, 0, 0 })
   same({ ba.datetime{ year = 2024, month = 2, day = 29, hour = 12, min = 34, sec = 56, offset = 120 }:ticks() },
      { 1709202896, 0, 120 })
   assert(math.abs(ba.datetime"NOW":ticks() - os.time()) < 10)
   assert(ba.datetime"MIN" < ba.datetime"NOW" and ba.datetime"NOW" < ba.datetime"MAX")
end)

test("a moment as text and as a table", function()
   local moment = ba.datetime(1709202896, 0, 120)
   same(tostring(moment), "2024-02-29T12:34:56+02:00")
   same(moment:tostring(), "2024-02-29T12:34:56+02:00")
   same(moment:tostring(0), "2024-02-29T10:34:56Z")
   same(moment:date(), { year = 2024, month = 2, day = 29, hour = 12, min = 34, sec = 56, nsec = 0, offset = 120,
      wday = 5, yday = 60 })
   same(moment:date(0).hour, 10)
   same(tostring(ba.datetime"MIN"), "0000-01-01T00:00:00Z")
   same(tostring(ba.datetime"MAX"), "9999-12-31T23:59:59.999999999Z")
end)

test("moments are compared by when they are", function()
   assert(ba.datetime"2024-01-01T01:00:00+01:00" == ba.datetime"2024-01-01T00:00:00Z")
   assert(ba.datetime(1) < ba.datetime(1, 1))
   assert(ba.datetime(1) <= ba.datetime(1))
   assert(raises(function() return ba.datetime(1) < 5 end):find"attempt to compare datetime with integer")
   same(ba.datetime(1) == ba.aeskey(), false)
end)

test("moments are added to and subtracted from", function()
   local moment = ba.datetime(1709202896, 500, 120)
   same({ (moment + 86400):ticks() }, { 1709289296, 500, 120 })
   same(60 + moment, moment + 60)
   same({ (moment - 0.5):ticks() }, { 1709202895, 500000500, 120 })
   same((moment + { days = 1, hours = -1, mins = 2, secs = 3, nsecs = 4 }) - moment, 82923.000000004)
   same(moment - { days = 1 } + { days = 1 }, moment)
   same(math.type(ba.datetime"1970-01-02T01:00:00+01:00" - ba.datetime(0)), "integer")
   same(ba.datetime"1970-01-02T01:00:00+01:00" - ba.datetime(0), 86400)
   same(ba.datetime(0) - ba.datetime(1, 500000000), -1.5)
   assert(ba.datetime"MAX" - ba.datetime"MIN" > 0)
end)

test("what cannot be added to a moment is said", function()
   local moment = ba.datetime(0)
   for wrong, why in pairs{
      x = "on datetime and string", [moment] = "on datetime and userdata", [{ year = 1 }] = "field 'year': days, hours",
      [{ days = "x" }] = "field 'days': number expected", [1e300] = "on datetime and number",
      [math.maxinteger] = "on datetime and integer", [1e15] = "so far away", [{ days = -1e18 }] = "so far away",
   } do
      local text = raises(function() return moment + wrong end)
      assert(text:find(why, 1, true), text)
   end
   assert(raises(function() return 5 - moment end):find"on datetime and integer")
end)

test("what is no date gives nil", function()
   for _, wrong in ipairs{
      "", "yesterday", "2024-02-30T00:00:00Z", "2024-01-01", "10000-01-01T00:00:00Z", ("1"):rep(100000),
      { year = 2023, month = 2, day = 29 }, { year = 2024, month = 13, day = 1 },
      { year = math.maxinteger, month = 1, day = 1 }, { year = 2024, month = 1, day = 1, offset = math.maxinteger },
      { year = -1, month = 1, day = 1 }, { year = 2024, month = -1, day = 1 },
   } do
      same((ba.datetime(wrong)), nil)
   end
   same((ba.datetime(math.maxinteger)), nil)
   same((ba.datetime(math.mininteger)), nil)
   same((ba.datetime(0, 0, math.maxinteger)), nil)
   same((ba.datetime"MAX":ticks()) > 0, true)
end)

test("wrong arguments are named", function()
   assert(raises(ba.datetime):find("to 'ba.datetime' (string, number or table expected, got no value)", 1, true))
   assert(raises(ba.datetime, true):find("got boolean", 1, true))
   assert(raises(ba.datetime, {}):find("field 'year': integer expected, got nil", 1, true))
   assert(raises(ba.datetime, { year = 1, month = "x", day = 1 }):find("field 'month'", 1, true))
   assert(raises(ba.datetime, 1.5):find("'seconds'", 1, true))
   assert(raises(ba.datetime, 1, "x"):find("'nanoseconds'", 1, true))
   local moment = ba.datetime(0)
   assert(raises(moment.tostring, moment, 100000):find("minutes within a day expected, got 100000", 1, true))
   assert(raises(moment.date, moment, {}):find("'offset' to 'datetime:date' (integer expected, got table)", 1, true))
end)

test("an offset is less than a day, as its text can say", function()
   same(tostring(ba.datetime(0, 0, 1439)), "1970-01-01T23:59:00+23:59")
   same(tostring(ba.datetime(0, 0, -1439)), "1969-12-31T00:01:00-23:59")
   for _, offset in ipairs{ 1440, -1440, 1559, math.maxinteger } do
      same(ba.datetime(86400, 0, offset), nil)
      same(ba.datetime{ year = 2024, month = 2, day = 29, offset = offset }, nil)
      local problem = raises(function() ba.datetime(86400):tostring(offset) end)
      assert(problem:find("'offset' to 'datetime:tostring' (minutes within a day expected", 1, true), problem)
   end
end)
