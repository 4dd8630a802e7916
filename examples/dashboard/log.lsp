<?lsp local layout = require"layout" app.head(_ENV, "Log") ?>
<table>
<?lsp for _, line in ipairs(app.log) do ?>
  <tr><td><?lsp=line.time?></td><td><?lsp=layout.escape(line.text)?></td></tr>
<?lsp end ?>
</table>
<p><a class="button" href="/log.lsp" data-into="main">Refresh</a></p>
<?lsp app.foot(_ENV) ?>
