---@meta smq.hub

---@class smq.hubmodule
local hubmodule = {}

---A client, as callbacks and `peers` show it. Other fields are free for scripts; the named ones are to be read only.
---@class smq.Peer
---@field tid integer the client's own number, its etid
---@field uid string what tells it from all others, as it says
---@field info string the text that it connected with
---@field sock smq.HubSocket
---@field topics? table<integer, smq.HubSocket> the numbers of the topics that it is subscribed to; nil without any
---@field [string] any what scripts add

---What is known of a client that wants in: what it says, and from the request that became its connection.
---@class smq.ConnectInfo
---@field uid string as in `smq.Peer`
---@field info string as in `smq.Peer`
---@field seed integer the random number that the client was sent, for credentials that hash a password with it
---@field sock smq.HubSocket
---@field arg any what was given to `connect`
---@field url string the path of the URL
---@field data table<string, string> the query's fields
---@field header table<string, string>
---@field uname? string who is logged in
---@field session smq.Session|false

---@class smq.HubOptions
---@field authenticate? fun(credentials: string, info: smq.ConnectInfo): integer?, string? 0 accepts; a code and a reason refuse
---@field permittop? fun(topic: string, issub: boolean, peer: smq.Peer): boolean?
---@field permitsubtop? fun(subtopic: string, peer: smq.Peer): boolean?
---@field onconnect? fun(tid: integer, info: smq.ConnectInfo, peer: smq.Peer)
---@field onclose? fun(tid: integer, sock: smq.HubSocket, peer: smq.Peer, err: integer|string)
---@field onpublish? fun(data: string, ptid: integer, tid: integer, subtid: integer, peer: smq.Peer): boolean? falsy drops
---@field ondrop? fun(data: string, ptid: integer, tid: integer, subtid: integer, peer: smq.Peer)
---@field onmsg? fun(data: string, ptid: integer, tid: integer, subtid: integer)
---@field log? fun(sock: smq.HubSocket?, text: string)
---@field rndtid? boolean a random etid for the server instead of 1
---@field readtmo? integer milliseconds to wait for Connect; 4000
---@field keepidle? integer seconds of silence before the first TCP keepalive probe; 230
---@field keepintv? integer seconds between probes, at least 3; a tenth of `keepidle`
---@field queuesize? integer what `Hub:queuesize` gives, and nothing else; 200

---@param op? smq.HubOptions
---@return smq.Hub
function hubmodule.create(op) end

---Whether a request wants to become an SMQ connection.
---@param request smq.Request
---@return boolean
function hubmodule.isSMQ(request) end

---A topic is a name, a number, a client's number, or `"self"`.
---@class smq.Hub
local Hub = {}

---Makes the request a connection to the hub; returns when the handshake is over. 404 if it is no SMQ request. A browser's may
---come from the page of any site: its header `Origin` tells which.
---@param request smq.Request
---@param arg? any shown as `info.arg`
function Hub:connect(request, arg) end

---@param name string
---@param tid? integer a wish
---@return integer tid
function Hub:create(name, tid) end

---@param name string
---@param subtid? integer a wish
---@return integer subtid
function Hub:createsub(name, subtid) end

---The server's own number.
---@return integer
function Hub:gettid() end

---@param data string|table a table is sent as JSON; at most 65520 bytes
---@param topic string|integer
---@param subtopic? string|integer
---@param ptid? integer the publisher that subscribers see; 1 unless given
---@return integer queued
function Hub:publish(data, topic, subtopic, ptid) end

---One client's message to another.
---@param data string
---@param totid integer
---@param fromtid integer
---@param subtid integer
---@return boolean areconnected
function Hub:pubon(data, totid, fromtid, subtid) end

---@param topic string|integer
---@param op? {onmsg: fun(data: any, ptid: integer, tid: integer, subtid: integer), subtopic: (string|integer)?, json: boolean?}
---@return integer tid
function Hub:subscribe(topic, op) end

---@param topic string|integer
function Hub:unsubscribe(topic) end

---@param topic string|integer
---@param f fun(subscribers: integer, topic: string|integer)
---@return true?
function Hub:observe(topic, f) end

---@param topic string|integer
function Hub:unobserve(topic) end

---The callback for messages that no other wants.
---@param f fun(data: string, ptid: integer, tid: integer, subtid: integer)
function Hub:onmsg(f) end

---@param topic string
---@return integer?
function Hub:topic2tid(topic) end

---@param tid integer
---@return string?
function Hub:tid2topic(tid) end

---@param subtopic string
---@return integer?
function Hub:subtopic2tid(subtopic) end

---@param subtid integer
---@return string?
function Hub:tid2subtopic(subtid) end

---@return fun(): integer, string
function Hub:topics() end

---@return fun(): integer, string
function Hub:subtopics() end

---@return fun(): smq.HubSocket, smq.Peer
function Hub:peers() end

---@param sock smq.HubSocket
---@return smq.Peer?
function Hub:sock2peer(sock) end

---@param etid integer
---@return smq.Peer?
function Hub:etid2peer(etid) end

---@return integer free, integer used
function Hub:queuesize() end

---TCP keepalive of later connections.
---@param idle number seconds of silence before the first probe
---@param interval? number seconds between probes, as many if not given; at least 3
function Hub:setkeepalive(idle, interval) end

---Ends all clients, or one; with a message they do not come back. When it returns, `onclose` has been called for them, and the
---hub has forgotten those whose `onclose` does not wait.
---@param msg? string
---@param etid? integer
function Hub:shutdown(msg, etid) end

---A client's socket.
---@class smq.HubSocket
local HubSocket = {}

---@return string? address, integer? port, boolean? isipv6
function HubSocket:peername() end

---@return boolean
function HubSocket:websocket() end

return hubmodule
