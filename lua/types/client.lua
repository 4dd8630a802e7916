---@meta smq.client

---@class smq.clientmodule
local clientmodule = {}

---@class smq.ClientOptions
---@field uid? string tells this client from all others, 6 to 255 bytes; else the own address and the seed
---@field info? string for the server's `authenticate` and `onconnect`, at most 60000 bytes
---@field timeout? number milliseconds for the connection, and for each answer until it stands; 5000
---@field ping? number seconds of silence until the server is asked whether it is still there; 120
---@field pong? number seconds that it may take to answer; 10
---@field trusted? boolean false: any certificate will do
---@field ca? string certificates to trust, in PEM form
---@field header? table<string, string|number> further headers of the HTTP request

---Starts to connect to a hub over TCP or, with `https:`, TLS. Set the callbacks right after. It lives until it is closed: an
---app does that in `onunload`.
---@param url string
---@param op? smq.ClientOptions
---@return smq.Client
function clientmodule.create(url, op) end

---Callbacks are fields. While the client is not connected its methods send nothing and return false; a new connection knows
---nothing of the one before: set up everything in `onconnect`. A topic is a name, a number, a client's number, or `"self"`.
---An error in a callback is logged, and the client goes on.
---@class smq.Client
---@field onauth? fun(seed: integer, address: string): string|number|nil the credentials, at most 255 bytes
---@field onconnect? fun(etid: integer, seed: integer, address: string)
---@field onreconnect? fun(etid: integer, seed: integer, address: string) absent: `onconnect` again
---@field onclose? fun(why: string, canreconnect: boolean): number|boolean|nil milliseconds until a reconnect, at least 1000; true: 5000
---@field onmsg? fun(data: string, ptid: integer, tid: integer, subtid: integer) for messages without a callback of their own
local Client = {}

---Whether the message is on its way. False when it is lost: while not connected, while 1000 messages wait for names that
---the server has not answered yet, or while the other server does not read and too much waits for it (see `Socket:write`).
---@param data string|table a table is sent as JSON; at most 65520 bytes
---@param topic string|integer
---@param subtopic? string|integer
---@return boolean
function Client:publish(data, topic, subtopic) end

---`onmsg(data, ptid, tid, subtid)`; with `datatype = "json"` data is a table, and what is none goes to the client's `onmsg`.
---`onack(accepted, topic, tid [, subtopic, subtid])`. Without a sub-topic: what no callback of a sub-topic takes.
---@param topic string|integer
---@param subtopic? string|integer|table
---@param settings? {onmsg: function?, datatype: "json"?, onack: function?}
---@return boolean isasked
function Client:subscribe(topic, subtopic, settings) end

---Removes all callbacks of the topic. False also for a name that was never asked for.
---@param topic string|integer
---@return boolean
function Client:unsubscribe(topic) end

---`onack(accepted, topic, tid [, subtopic, subtid])`; at once if the numbers are known.
---@param topic string|integer
---@param subtopic? string|integer|fun(accepted: boolean, topic: string|integer, tid: integer)
---@param onack? fun(accepted: boolean, topic: string|integer, tid: integer, subtopic: string|integer, subtid: integer)
---@return boolean isasked
function Client:create(topic, subtopic, onack) end

---@param subtopic string|integer
---@param onack? fun(accepted: boolean, subtopic: string|integer, subtid: integer)
---@return boolean isasked
function Client:createsub(subtopic, onack) end

---The number of subscribers, now and whenever it changes; of a client only the 0 when it has gone. The number of a topic whose
---name is not known here looks like a client's while nobody subscribes: then the 0 is the end, too.
---@param topic string|integer
---@param onchange fun(subscribers: integer, topic: string|integer)
---@return boolean isasked
function Client:observe(topic, onchange) end

---False also for a name that was never asked for.
---@param topic string|integer
---@return boolean
function Client:unobserve(topic) end

---The own number; nil while not connected.
---@return integer?
function Client:gettid() end

---For good, and no callback is called any more.
function Client:close() end

return clientmodule
