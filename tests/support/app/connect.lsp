<?lsp app.enter(request:data"hub", request) ?>
