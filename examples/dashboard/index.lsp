<?lsp local layout = require"layout" app.head(_ENV, "Overview") ?>
<section class="cards">
  <article><h3>Browsers</h3><output data-pulse="browsers"><?lsp=app.browsers?></output></article>
  <article><h3>Messages per second</h3><output data-pulse="messages">0</output><svg viewBox="0 0 120 40" preserveAspectRatio="none" data-curve="messages"><polyline points=""/></svg></article>
  <article><h3>Memory of Lua</h3><output><span data-pulse="memory"><?lsp=collectgarbage"count" // 1 | 0?></span> kB</output><svg viewBox="0 0 120 40" preserveAspectRatio="none" data-curve="memory"><polyline points=""/></svg></article>
  <article class="wide"><h3>Lamps</h3><div class="dots"><?lsp for id, lamp in ipairs(app.lamps) do ?>
    <span class="dot" data-glow="<?lsp=id?>" style="--level:<?lsp=lamp.level?>"><b></b><?lsp=layout.escape(lamp.name)?></span><?lsp end ?>
  </div></article>
  <article class="wide"><h3>Note</h3><p><?lsp=layout.escape(app.settings.note)?></p></article>
</section>
<?lsp app.foot(_ENV) ?>
