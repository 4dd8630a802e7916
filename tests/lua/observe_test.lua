-- Observing how many subscribers a topic has.
local smqhub = require"smq.hub"

test("an observer hears of each subscription and its end", function()
   local hub, got = smqhub.create(), {}
   same(hub:observe("news", function(...) got[#got + 1] = {...} end), true)
   hub:subscribe"news"
   hub:unsubscribe"news"
   eventually(function() return #got == 2 end)
   same(got, {{1, "news"}, {0, "news"}})
end)

test("a topic given by number is reported by name", function()
   local hub, got = smqhub.create(), {}
   hub:observe(hub:create"news", function(...) got[#got + 1] = {...} end)
   hub:subscribe"news"
   eventually(function() return #got == 1 end)
   same(got, {{1, "news"}})
end)

test("observe does not report the present number", function()
   local hub, got = smqhub.create(), {}
   hub:subscribe"news"
   hub:observe("news", function(...) got[#got + 1] = {...} end)
   hub:unsubscribe"news"
   eventually(function() return #got > 0 end)
   same(got, {{0, "news"}})
end)

test("a change is told within the call that causes it", function()
   local hub, got = smqhub.create(), {}
   local function note(what) got[#got + 1] = what end
   hub:observe("news", note)
   hub:subscribe"news"
   note"subscribed"
   hub:unsubscribe"news"
   note"unsubscribed"
   same(got, {1, "subscribed", 0, "unsubscribed"})
end)

test("several callbacks of one topic are one subscription", function()
   local hub, got = smqhub.create(), {}
   hub:observe("news", function(n) got[#got + 1] = n end)
   hub:subscribe("news", {onmsg = print})
   hub:subscribe("news", {subtopic = "sport", onmsg = print})
   hub:unsubscribe"news"
   eventually(function() return #got >= 2 end)
   same(got, {1, 0})
end)

test("a later observe replaces the function", function()
   local hub, got = smqhub.create(), {}
   hub:observe("news", function() got[#got + 1] = "old" end)
   hub:observe("news", function() got[#got + 1] = "new" end)
   hub:subscribe"news"
   eventually(function() return #got > 0 end)
   same(got, {"new"})
end)

test("unobserve ends the reports", function()
   local hub, got = smqhub.create(), {}
   hub:observe("news", function() got[#got + 1] = "news" end)
   hub:observe("other", function() got[#got + 1] = "other" end)
   hub:unobserve"news"
   hub:subscribe"news"
   hub:subscribe"other"
   eventually(function() return #got > 0 end)
   same(got, {"other"})
end)

test("unobserve leaves the topic alone", function()
   local hub, got = smqhub.create()
   hub:subscribe("news", {onmsg = function(data) got = data end})
   hub:observe("news", print)
   hub:unobserve"news"
   hub:publish("hello", "news")
   eventually(function() return got == "hello" end)
end)

test("unknown numbers and the own one cannot be observed", function()
   local hub = smqhub.create()
   same(hub:observe(4711, print), nil)
   same(hub:observe(hub:gettid(), print), nil)
   same(hub:observe("self", print), nil)
end)
