<?lsp
local layout = require"layout"
local settings, saved = app.settings, false

-- The first so many characters of a text, or nil if it is not UTF-8.
local function first(count, text)
   return text and utf8.len(text) and text:sub(1, (utf8.offset(text, count + 1) or #text + 1) - 1)
end

if request:method() == "POST" then
   local title, color = first(40, request:data"title"), request:data"color"
   if title and #title > 0 then settings.title = title end
   if color and color:match"^#%x%x%x%x%x%x$" then settings.color = color end
   settings.note = first(500, request:data"note") or ""
   app.note(request:user() .. " has changed the settings")
   saved = true
end
app.head(_ENV, "Settings")
?>
<form method="post" action="/settings.lsp" data-into="main">
  <label>Title <input name="title" required maxlength="40" value="<?lsp=layout.escape(settings.title)?>"></label>
  <label>Color <input name="color" type="color" value="<?lsp=settings.color?>"></label>
  <label>Note <textarea name="note" rows="4"><?lsp=layout.escape(settings.note)?></textarea></label>
  <button>Save</button> <?lsp if saved then ?><span class="saved">Saved.</span><?lsp end ?>
</form>
<?lsp app.foot(_ENV) ?>
