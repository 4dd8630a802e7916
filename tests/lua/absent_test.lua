-- What is not offered says so by its name.

test("a module that is not offered is named by require", function()
   for name, what in pairs{
      mqttc = "MQTT", ["luasql.sqlite"] = "SQL databases", opcua = "OPC UA", wfs = "web file server",
      ["acme/engine"] = "certificate management", ["smq.cluster"] = "clustering", ["smq.mtl"] = "clustering",
      ["smq.conn"] = "clustering",
   } do
      local problem = raises(require, name)
      assert(problem:find("'" .. name .. "' is not offered", 1, true) and problem:find(what, 1, true), problem)
   end
end)

test("a module that nobody knows is only not found", function()
   local problem = raises(require, "no.such.module")
   assert(problem:find("module 'no.such.module' not found", 1, true) and not problem:find"not offered", problem)
end)

test("an app may bring a module of that name", function()
   package.preload.mqttbroker = function() return "the app's own" end
   same(require"mqttbroker", "the app's own")
end)

test("a function that is not offered is named when it is called", function()
   local problem = raises(function() ba.create.dav() end)
   assert(problem:find("'ba.create.dav' is not offered: this server does without WebDAV", 1, true), problem)
   assert(problem:find("absent_test.lua:", 1, true), problem)
   assert(raises(ba.pipe, "x"):find("'ba.pipe' is not offered", 1, true))
end)

test("what apps only look for is nil", function()
   same(ba.tpm, nil)
   same(rawget(_G, "bd"), nil)
   same(_G.esp32, nil)
end)
