<?lsp
local layout = require"layout"
local settings, saved = app.settings, false
if request:method() == "POST" then
   local title, color = request:data"title", request:data"color"
   if title and #title > 0 and #title <= 40 then settings.title = title end
   if color and color:match"^#%x%x%x%x%x%x$" then settings.color = color end
   settings.note = (request:data"note" or ""):sub(1, 500)
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
