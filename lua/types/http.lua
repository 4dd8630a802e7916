---@meta http

---@class smq.httpmodule
local httpmodule = {}

---A client like that of httpc, with helpers for JSON and for files. `require"httpm"` gives the same.
---@param op? smq.HttpOptions
---@return smq.Http
function httpmodule.create(op) end

---@class smq.Http: smq.Httpc
local Http = {}

---Asks for JSON with GET, or as `op` says: the decoded response; or nil, the status or a word, and the body or a sentence.
---@param url string
---@param query? table
---@param op? smq.HttpRequest
---@return any value, integer|string? status, string? text
function Http:json(url, query, op) end

---Sends a table as JSON with POST; returns as `json` does.
---@param url string
---@param value table
---@param op? smq.HttpRequest
---@return any value, integer|string? status, string? text
function Http:post(url, value, op) end

---Asks with HEAD what there is: size in bytes, time of the last change in seconds since 1970, media type, as far as the
---server tells; or nil, the status or a word, and a sentence.
---@param url string
---@param op? smq.HttpRequest
---@return {size: integer?, mtime: integer?, type: string?}? info, integer|string? status, string? sentence
function Http:stat(url, op) end

---Writes the response to a file, which is removed again if the response breaks off: true and the number of bytes; or nil, the
---status or a word, and the body or a sentence.
---@param url string
---@param io smq.Io
---@param name string
---@param op? smq.HttpRequest
---@return true? done, integer|string? size, string? text
function Http:download(url, io, name, op) end

---Sends a file with PUT, or as `op` says: true, the status and the body; or nil, the status or a word, and the body or a
---sentence.
---@param url string
---@param io smq.Io
---@param name string
---@param op? smq.HttpRequest
---@return true? done, integer|string? status, string? text
function Http:upload(url, io, name, op) end

return httpmodule
