-- What is around every page. A request of fragments.js gets the page alone, as it replaces only the content.
local M = {}

local menu = {
   {url = "/", icon = "◉", title = "Overview"},
   {url = "/lamps.lsp", icon = "☀", title = "Lamps"},
   {url = "/settings.lsp", icon = "⚙", title = "Settings"},
   {url = "/log.lsp", icon = "☰", title = "Log"},
}

local entities = {["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;"}

-- Text as HTML.
function M.escape(text) return (tostring(text):gsub('[&<>"]', entities)) end

local function start(env, title, color)
   env.response:write('<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>', M.escape(title),
      '</title><meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,"><style>:root{--accent:',
      M.escape(color), '}</style>')
end

local function shell(env, app, title)
   start(env, title .. " – " .. app.settings.title, app.settings.color)
   local write = function(...) env.response:write(...) end
   write('<link rel="stylesheet" href="/style.css"><script src="/rtl/smq.js"></script>',
      '<script src="/fragments.js" defer></script><script src="/live.js" defer></script></head><body><nav><h1>',
      M.escape(app.settings.title), "</h1>")
   for _, item in ipairs(menu) do
      write('<a href="', item.url, '" data-into="main"><i>', item.icon, "</i>", item.title, "</a>")
   end
   write('<footer>', M.escape(env.request:user() or ""), ' · <a href="/logout.lsp">log out</a></footer></nav><main>')
end

function M.head(env, app, title)
   if not env.request:header"X-Fragment" then shell(env, app, title) end
   env.response:write("<h2>", M.escape(title), "</h2>")
end

function M.foot(env)
   if not env.request:header"X-Fragment" then env.response:write"</main></body></html>" end
end

-- The login page; its style is part of it, since nothing else can be fetched before the login.
function M.login(env, info)
   start(env, "Log in", "#3d6be5")
   local problem = info.denied and "Too many attempts." or info.username and "Name or password is wrong." or ""
   env.response:write("<style>", M.style, '</style></head><body class="login"><form method="post"><h1>Dashboard</h1>',
      '<label>Name <input name="ba_username" autofocus autocomplete="username" value="', M.escape(info.username or ""),
      '"></label><label>Password <input name="ba_password" type="password" autocomplete="current-password"></label>',
      "<button>Log in</button><p>", problem, "</p><small>demo / demo</small></form></body></html>")
end

return M
