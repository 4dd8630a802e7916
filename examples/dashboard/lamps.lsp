<?lsp local layout = require"layout" app.head(_ENV, "Lamps") ?>
<p>Open this page in a second window: the sliders move together.</p>
<section class="cards">
<?lsp for id, lamp in ipairs(app.lamps) do ?>
  <article>
    <h3><?lsp=layout.escape(lamp.name)?></h3>
    <span class="dot" data-glow="<?lsp=id?>" style="--level:<?lsp=lamp.level?>"><b></b></span>
    <label><input type="range" min="0" max="100" value="<?lsp=lamp.level?>" data-lamp="<?lsp=id?>" aria-label="<?lsp=layout.escape(lamp.name)?>">
    <output data-level="<?lsp=id?>"><?lsp=lamp.level?> %</output></label>
  </article>
<?lsp end ?>
</section>
<?lsp app.foot(_ENV) ?>
