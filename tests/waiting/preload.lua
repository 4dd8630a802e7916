-- One script at a time waits, in one of the ways there are, until the page open.lsp says that it may go on.
local here = "127.0.0.1"

-- begin.lsp chooses `kind`, whose script waits, and how; `state` tells how far it has come.
kind, how, state, is_open = nil, nil, "none", false

local function until_open()
   state = "waiting"
   while not is_open do ba.sleep(1) end
end

-- The page gate.lsp does this and answers with "open".
gate = until_open

local ways = {}

ways.sleep = until_open

function ways.socket()
   local s <close> = assert(ba.socket.connect(here, mako.port))
   s:write"GET /gate.lsp HTTP/1.0\r\nHost: localhost\r\n\r\n"
   local answer = ""
   repeat
      local data = s:read()
      answer = answer .. (data or "")
   until not data
   assert(answer:find"open$", answer)
end

function ways.websocket()
   local http = require"httpc".create()
   assert(http:request{ url = ("ws://%s:%d/socket.lsp"):format(here, mako.port) })
   local s <close> = assert(ba.socket.http2sock(http))
   assert(s:read() == "open")
end

function ways.http()
   local http = require"http".create()
   assert(http:request{ url = ("http://%s:%d/gate.lsp"):format(here, mako.port) })
   assert(http:read"*a" == "open")
end

function ways.job()
   local is_done
   ba.thread.run(function()
      until_open()
      is_done = true
   end)
   while not is_done do ba.sleep(1) end
end

-- Waits for nothing, and for ever.
function ways.loop()
   state = "looping"
   while true do pcall(pcall, function() while true do end end) end
end

-- Called by scripts of all kinds, and by each as often as it likes: the first call of the chosen one waits. A local as well,
-- since directory functions do not see the app's globals.
local function pause(caller)
   if caller ~= kind or state ~= "begun" then return end
   state = "called"
   ways[how]()
   state = "done"
end
_ENV.pause = pause

function begin(chosen, way)
   kind, how, state, is_open = chosen, way, "begun", false
   if chosen == "timer" then ba.timer(function() pause"timer" end):set(1) end
   if chosen == "job" then ba.thread.run(function() pause"job" end) end
   if chosen == "queue" then ba.thread.create():run(function() pause"queue" end) end
   if chosen == "event" then ba.socket.event(pause, "event") end
   if chosen == "coroutine" then ba.timer(coroutine.wrap(function() pcall(pause, "coroutine") end)):set(1) end
end

local function waits(name, answer)
   return function()
      pause(name)
      return answer
   end
end

hub = require"smq.hub".create{
   authenticate = waits("authenticate", 0), onconnect = waits"onconnect", permittop = waits("permittop", true),
   permitsubtop = waits("permitsubtop", true), onpublish = waits("onpublish", true), onclose = waits"onclose",
}
hub:subscribe("server", { onmsg = waits"onmsg" })
hub:observe("observed", waits"observe")

local function mount(name, f)
   local d = ba.create.dir(name)
   if f then d:setfunc(f) end
   dir:insert(d)
   return d
end

mount("directory", function(_ENV)
   pause"directory"
   response:write"done"
end)

local function page(_ENV) response:write"done" end

local users = ba.create.authuser(function()
   pause"authuser"
   return "secret"
end)
local basic = ba.create.authenticator(users, { type = "basic" })
mount("authuser", page):setauth(basic)
mount("authorizer", page):setauth(basic, ba.create.authorizer(waits("authorizer", true)))
mount("login", page):setauth(ba.create.authenticator(users, { type = "form", response = function(_ENV)
   pause"login"
   response:write"done"
end }))
