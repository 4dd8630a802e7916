<?lsp app.hub:connect(request) ?>
