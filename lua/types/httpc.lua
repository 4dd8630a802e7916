---@meta httpc

---What holds for all requests of an HTTP client.
---@class smq.HttpOptions
---@field trusted? boolean whether the server's certificate is checked; true unless given
---@field ca? string certificates to trust, in PEM form
---@field timeout? integer milliseconds for the connection, and for each wait from then on; 20000
---@field user? string
---@field password? string
---@field header? table<string, string>
---@field maxsize? integer bytes that `read"*a"` gives at most; 16 MiB
---@field redirect? boolean whether redirects of GET and HEAD are followed, up to ten in a row; true unless given
---@field compressed? boolean whether to ask for gzip, and unpack it; the headers stay those of the packed response

---What one request may say.
---@class smq.HttpRequest
---@field url string beginning with `http:` or `https:`, or with `ws:` or `wss:` for a WebSocket (see `ba.socket.http2sock`)
---@field method? string `"GET"` unless given
---@field header? table<string, string>
---@field query? table<string, string>
---@field user? string as for the client
---@field password? string
---@field data? string the body
---@field size? integer the length of the body that `write` sends
---@field redirect? boolean as for the client
---@field compressed? boolean as for the client

---@class smq.httpcmodule
local httpcmodule = {}

---An HTTP client: it makes one request at a time, and keeps the connection for the next one.
---@param op? smq.HttpOptions
---@return smq.Httpc
function httpcmodule.create(op) end

---What the other server does wrong gives nil, a word and a sentence.
---@class smq.Httpc
local Httpc = {}

---Sends the head, and the body if it is in `data`. A POST, PUT or PATCH without `data` is followed by `write`.
---@param op smq.HttpRequest
---@return true? done, string? why, string? sentence
function Httpc:request(op) end

---Sends a piece of the body; what goes beyond the announced `size` is not sent, and gives "bodycomplete".
---@param data string
---@return true? done, string? why, string? sentence
function Httpc:write(data) end

---Waits for the response; its status code.
---@return integer? status, string? why, string? sentence
function Httpc:status() end

---One header of the response in any letter case, or a table of all, names in lower case; of repeated names the last.
---@param name? string
---@return string|table<string, string>|nil value, string? why, string? sentence
function Httpc:header(name) end

---An iterator over all headers, repeated ones too.
---@return fun(): string, string
function Httpc:headerpairs() end

---What has come next of the body; `what` bytes, fewer at the end; or with `"*a"` all that is left. Nil at the end.
---@param what? integer|"a"|"*a"
---@return string? data, string? why, string? sentence
function Httpc:read(what) end

---Ends the request; coroutines that wait for its response get nil and "socketclosed".
function Httpc:close() end

return httpcmodule
