-- ba.thread: jobs beside the page.

test("a job runs by itself and may wait", function()
   local done
   local number = ba.thread.run(function() ba.sleep(1) done = true end)
   same(math.type(number), "integer")
   same(done, nil)
   eventually(function() return done end, "the job")
end)

test("jobs of ba.thread.run run side by side", function()
   local order = {}
   ba.thread.run(function() ba.sleep(30) order[#order + 1] = "slow" end)
   ba.thread.run(function() order[#order + 1] = "fast" end)
   eventually(function() return #order == 2 end, "both jobs")
   same(order, { "fast", "slow" })
end)

test("jobs of one thread run one after the other, also behind one that fails", function()
   local order = {}
   local thread = ba.thread.create()
   thread:run(function() ba.sleep(5) order[1] = "first" end)
   thread:run(function() error"on purpose" end)
   thread:run(function() order[#order + 1] = "last" end)
   eventually(function() return #order == 2 end, "both jobs")
   same(order, { "first", "last" })
end)

test("wrong arguments are named", function()
   assert(raises(ba.thread.run):find("'function' to 'ba.thread.run' (function expected, got no value)", 1, true))
   assert(raises(ba.thread.run, "x"):find("function expected, got string", 1, true))
   local thread = ba.thread.create()
   assert(raises(thread.run, thread, 5):find("'function' to 'thread:run' (function expected, got 5)", 1, true))
end)

test("a coroutine that waits is left to the script that made it wait", function()
   local has_begun, answers, job, is_done
   local co = coroutine.create(function() has_begun = true ba.sleep(20) return "done" end)
   ba.thread.run(function() answers = { coroutine.resume(co) } end)
   ba.thread.run(function() job = coroutine.running() ba.sleep(20) is_done = true end)
   eventually(function() return has_begun and job end)
   same({ coroutine.resume(co) }, { false, "cannot resume a coroutine that waits" })
   for _, waiting in ipairs{ co, job } do
      local problem = raises(coroutine.close, waiting)
      assert(problem:find("cannot close a coroutine that waits", 1, true), problem)
   end
   collectgarbage()
   eventually(function() return answers and is_done end)
   same(answers, { true, "done" })
   same(coroutine.close(co), true)
end)

test("a coroutine that has yielded can be closed", function()
   local is_closed
   local co = coroutine.create(function()
      local _ <close> = setmetatable({}, { __close = function() is_closed = true end })
      coroutine.yield()
   end)
   coroutine.resume(co)
   same(coroutine.close(co), true)
   assert(is_closed)
end)

test("calls and coroutines that return nothing return nothing", function()
   local nothing = function() end
   same(select("#", pcall(nothing)), 1)
   same(select("#", xpcall(nothing, nothing)), 1)
   same(select("#", coroutine.resume(coroutine.create(nothing))), 1)
   same(select("#", coroutine.wrap(nothing)()), 0)
   same(select("#", pcall(function() return nil, nil end)), 3)
end)
