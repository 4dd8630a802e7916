<?lsp response:write(app.eval(request:data"hub", request:data"code")) ?>
