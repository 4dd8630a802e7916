<?lsp
-- A hub without callbacks, made when the first client comes.
local hub = require"smq.hub"
if hub.isSMQ(request) then
   page.hub = page.hub or hub.create()
   page.hub:connect(request)
else
   response:senderror(404)
end
?>
