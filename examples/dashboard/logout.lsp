<?lsp request:logout() response:sendredirect"/" ?>
