-- What other Barracuda servers have and this one does not, each with what it is about: the one list of it.
--
-- A module that is asked for by require gets this into its error; an app may still bring a module of its own by that
-- name. A function of `ba` raises when it is called. `ba.tpm` is not here: apps test it, and nil tells them to go on.
local MODULES <const> = {
   luasql = "SQL databases", sqlutil = "SQL databases", sqlite = "SQL databases", mysql = "SQL databases",
   postgresql = "SQL databases", pgsql = "SQL databases", redis = "Redis",
   ["smq.cluster"] = "clustering", ["smq.conn"] = "clustering", ["smq.mtl"] = "clustering",
   opcua = "OPC UA", sparkplug = "Sparkplug", pb = "protocol buffers", protoc = "protocol buffers",
   protobuf = "protocol buffers", modbus = "Modbus",
   mqttc = "MQTT", mqtt3c = "MQTT", mqttbroker = "MQTT", mqtt = "MQTT", soap = "SOAP", xmlrpc = "XML-RPC", xml2table = "XML",
   xparser = "XML", ["socket.mail"] = "mail", mail = "mail", smtp = "mail", acme = "certificate management",
   certmgr = "certificate management", webauthn = "WebAuthn", radius = "RADIUS", wfs = "the web file server",
   dav = "WebDAV", cgi = "CGI", tracelogger = "the TraceLogger", ldbgmon = "the Lua debugger", xedge = "Xedge",
   aws = "AWS", github = "GitHub", esp32 = "ESP32 hardware",
}

local FUNCTIONS <const> = {
   pipe = "QNX pipes", parsexml = "XML", xmlrpc = "XML-RPC", encxml = "XML", sharkssl = "certificate management",
   ["create.dav"] = "WebDAV", ["create.wfs"] = "the web file server", ["create.cgi"] = "CGI",
   ["create.sqlite"] = "SQL databases", ["create.sharkssl"] = "certificate management",
   ["create.sharkcert"] = "certificate management", ["create.certstore"] = "certificate management",
   ["create.tracelogger"] = "the TraceLogger", ["create.csr"] = "certificate management",
   ["create.key"] = "certificate management",
}

local ba = ...

local function refusal(name, what)
   return ("'%s' is not offered: this server does without %s"):format(name, what)
end

table.insert(package.searchers, function(name)
   local what = MODULES[name] or MODULES[name:match"^[^./]*"]
   return what and refusal(name, what) or nil
end)

-- Not fields: whoever lists what there is does not find them.
local function stand_in(holder, prefix)
   setmetatable(holder, { __index = function(_, name)
      local path = prefix .. tostring(name)
      local what = FUNCTIONS[path]
      return what and function() error(refusal("ba." .. path, what), 2) end
   end })
end

stand_in(ba, "")
stand_in(ba.create, "create.")
