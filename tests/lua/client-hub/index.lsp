<?lsp
-- Clients get a connection to the hub; the test script gets the values of Lua expressions.
if require"smq.hub".isSMQ(request) then return app.connect(request) end
response:json{ assert(load("return " .. request:data"expression", "=expression", "t", app))() }
?>
