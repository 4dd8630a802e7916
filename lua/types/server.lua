---@meta
-- Every function that scripts can call is documented in this folder, for editors that know LuaLS annotations
-- (https://luals.github.io); docs/editor.md says how an editor finds it. None of the files is ever run.
--
-- This file has what the server gives to scripts; each of the modules has a file of its own.

-- ---- Globals ----

---Writes to the server's log: `function line: a<TAB>b`. Takes anything and never fails.
---@param ... any
function trace(...) end

---Like `trace`, with a choice of prefix; a priority above 5 is shown only if the environment says `RUST_LOG=debug`.
---@param withprefix boolean whether function and line are shown
---@param priority integer
---@param ... any
function tracep(withprefix, priority, ...) end

---In a page: writes to the response, values separated by tabs, with a line break. Elsewhere: writes to the server's log.
---@param ... any
function print(...) end

---Writes to the response as it is; in pages and directory functions only.
---@param text string
function _emit(text) end

---What was asked; in pages and directory functions only. The same object as `response`.
---@type smq.Request
request = nil

---What is answered; in pages and directory functions only. The same object as `request`.
---@type smq.Request
response = nil

---The path of this page from the app's root; in pages only.
---@type string
pathname = nil

---A table of this page that lives until the server stops; in pages only.
---@type table
page = nil

---The globals of the app's `.preload`; in pages and in `.preload`.
---@type table
app = nil

---The app's root directory in the URL space; in `.preload`. Pages say `app.dir`.
---@type smq.Dir
dir = nil

-- ---- request and response ----

---@class smq.Request
local Request = {}

---The first value of a header, in any letter case; without a name a table of all, with the names as sent.
---@param name? string
---@return string|table<string, string>|nil
function Request:header(name) end

---A field of the query or of an urlencoded form: the first value. Without a name a table of all: the last values.
---@param name? string
---@return string|table<string, string>|nil
function Request:data(name) end

---An iterator over all fields in the order in which they came, repeated ones too.
---@return fun(): string, string
function Request:datapairs() end

---`"GET"`, `"POST"`, ...
---@return string
function Request:method() end

---The path of the URL, decoded, without empty parts, `.` and `..`.
---@return string
function Request:uri() end

---The whole URL as the client asked for it, without the query.
---@return string
function Request:url() end

---The host name that the client asked for.
---@return string
function Request:domain() end

---`"1.0"` or `"1.1"`
---@return string
function Request:version() end

---Whether the connection is encrypted.
---@return boolean
function Request:issecure() end

---The client's address: IP address, port, whether it is IPv6.
---@return string address, integer port, boolean isipv6
function Request:peername() end

---The address that the client connected to.
---@return string address, integer port, boolean isipv6
function Request:sockname() end

---Who is logged in: name, password, and the kind of authenticator; nil when nobody is.
---@return string? name, string? password, string? type
function Request:user() end

---The client's session; with true a new one if there is none. False without one. There may be 10,000: then a new one takes
---the place of one that no client has come back to, and without such a one there is nil and why.
---@param create? boolean
---@return smq.Session|false|nil session, string? why
function Request:session(create) end

---Ends the session and the login; harmless when nobody is logged in.
---@param all? boolean whether to end all sessions of this user, those of other browsers as well
function Request:logout(all) end

---A cookie that the client sent; nil without one.
---@param name string
---@return smq.Cookie?
function Request:cookie(name) end

---A new cookie, sent by its `activate`.
---@param name string
---@return smq.Cookie
function Request:createcookie(name) end

---The body in pieces, for one that is read while it comes.
---@param size? integer bytes of a piece
---@return smq.BodyReader
function Request:rawrdr(size) end

---Reads a multipart form. The functions are called as the parts come: `formdata(name, value)`, `beginfile(name,
---filename, contenttype, encoding)`, `filedata(data)`, `endofreq()`, `error(why)`. One that has a parameter more gets
---`_ENV` first; one that has fewer is taken to be like the others. A file for which `beginfile` or `filedata` returns
---false is skipped (from there on).
---@param callbacks {formdata?: function, beginfile?: function, filedata?: function, endofreq?: function, error?: function}
---@return true? done, string? why
function Request:multipart(callbacks) end

---Whether this page was reached by `include`.
---@return boolean
function Request:isinclude() end

---Whether this page was reached by `forward`.
---@return boolean
function Request:isforward() end

---Whether the client asked for this very page.
---@return boolean
function Request:initial() end

---Sends strings and numbers; anything else writes nothing.
---@param ... any
function Request:write(...) end

---Like `write`, at once.
---@param data string
function Request:send(data) end

---The status code, 200 to 599, before the response has begun.
---@param code integer
function Request:setstatus(code) end

---Sets a header, in the place of an earlier value; nil removes it. Line breaks are refused.
---@param name string
---@param value string?
function Request:setheader(name, value) end

---@param type string such as `"text/plain"`
function Request:setcontenttype(type) end

---@param length integer in bytes
function Request:setcontentlength(length) end

---@param seconds integer how long browsers may keep the answer
function Request:setmaxage(seconds) end

---The headers of a page: HTML, not to be stored. A directory function has none by default.
function Request:setdefaultheaders() end

---Whether the response has this header so far.
---@param name string
---@return boolean
function Request:containsheader(name) end

---Sends the client to another URL and ends the page. Relative to the page's URL.
---@param url string
---@param permanent? boolean 301 instead of 302
function Request:sendredirect(url, permanent) end

---Answers with a small page; the page that calls goes on, and its output follows.
---@param code integer
---@param html? string
function Request:senderror(code, html) end

---Ends the page; what it wrote is sent.
function Request:abort() end

---Forgets what was written, and without an argument also headers and status.
---@param what? "buffer"
function Request:reset(what) end

---Sends what was written so far, and waits until the connection has taken it. From there on it goes to the client whatever
---the script does.
function Request:flush() end

---Whether there is a response to write to: not after redirect, abort or json.
---@return boolean
function Request:valid() end

---Whether the response has begun, so that status and headers are fixed.
---@return boolean
function Request:committed() end

---Answers with the table as JSON, or an array of several; ends the page unless the last argument is true.
---@param ... table|boolean
function Request:json(...) end

---Writes what another page or file writes, in place of the call.
---@param path string relative to this page, or `/...` from the server's root
---@return true
function Request:include(path) end

---Lets another page or file answer instead, and ends this page.
---@param path string relative to this page, or `/...` from the server's root
function Request:forward(path) end

---Lets the response stay open when the page ends, for whoever writes to it later.
---@return smq.Deferred
function Request:deferred() end

---From here on output is collected. Use it as `local x <close> = response:setresponse()`.
---@return smq.Collected
function Request:setresponse() end

---The body as it comes: `for piece in request:rawrdr() do ... end`.
---@class smq.BodyReader
---@overload fun(): string?
local BodyReader = {}

---The next piece, nil at the end.
---@param size? integer at most so many bytes
---@return string?
function BodyReader:read(size) end

---@class smq.Collected
local Collected = {}

---With true: sends what was collected, compressed if the client wants that; then true. Without: returns it as deflate data.
---A second call gives false.
---@param send? boolean
---@return string|boolean
function Collected:finalize(send) end

---The response, for whoever writes to it later: `flush` sends what was written so far, `valid` tells whether the client is
---still there.
---@class smq.Deferred: smq.Request
local Deferred = {}

---@param ... any
function Deferred:write(...) end

---Ends the response.
function Deferred:close() end

---Each method returns the attribute it is named after, nil while it has none; with an argument it sets it.
---@class smq.Cookie
local Cookie = {}

---@return string
function Cookie:name() end

---@param value? string
---@return string
function Cookie:value(value) end

---@param path? string
---@return string?
function Cookie:path(path) end

---@param domain? string
---@return string?
function Cookie:domain(domain) end

---@param comment? string
---@return string?
function Cookie:comment(comment) end

---@param seconds? integer
---@return integer?
function Cookie:maxage(seconds) end

---@param on? boolean
---@return boolean
function Cookie:httponly(on) end

---@param on? boolean
---@return boolean
function Cookie:secure(on) end

---Sends the cookie with the response.
function Cookie:activate() end

---Tells the browser to forget the cookie.
function Cookie:delete() end

---What is kept for one browser. Other fields are free for scripts: `session.color = "blue"`.
---@class smq.Session
local Session = {}

---@return string
function Session:id() end

---Ends the session.
function Session:terminate() end

---Seconds without a request after which the session ends; 1200 unless set.
---@param seconds? integer
---@return integer
function Session:maxinactiveinterval(seconds) end

---A table of the free fields.
---@return table
function Session:attributes() end

---Seconds since 1970.
---@return integer
function Session:creationtime() end

-- ---- Files ----

---The files below one folder: the app's in pages and `.preload`, others from `ba.openio`. What the world does wrong gives
---nil and a name: `enoent`, `exist`, `notempty`, `noaccess`, `invalidname`, `nospace`.
---@class smq.Io
local Io = {}

---@param path string
---@param mode? "r"|"w"|"a"|"r+"|"w+"|"a+"
---@return smq.File? file, string? why
function Io:open(path, mode) end

---@param path string
---@return {name: string, size: integer, mtime: integer, isdir: boolean, type: string}? info, string? why
function Io:stat(path) end

---An iterator over names; with true also isdir, mtime and size. Nil and why when there is no such folder.
---@param path? string
---@param detailed? boolean
---@return (fun(): string, boolean?, integer?, integer?)? names, string? why
function Io:files(path, detailed) end

---@param path string
---@param env? table the globals of the file; `_G` unless given
---@return function? chunk, string? why
function Io:loadfile(path, env) end

---Runs a file and returns its values; raises an error when there is none.
---@param path string
---@param env? table
---@return any ...
function Io:dofile(path, env) end

---@param path string
---@return true? done, string? why
function Io:mkdir(path) end

---@param path string
---@return true? done, string? why
function Io:rmdir(path) end

---@param path string
---@return true? done, string? why
function Io:remove(path) end

---@param from string
---@param to string
---@return true? done, string? why
function Io:rename(from, to) end

---The path on disk.
---@param path? string
---@return string? path, string? why
function Io:realpath(path) end

---@return string
function Io:resourcetype() end

---@class smq.File
local File = {}

---Up to `what` bytes, nil at the end; with `"l"` a line, with `"L"` one with its end; with `"a"`, or nothing, all that is left.
---@param what? integer|"a"|"*a"|"l"|"*l"|"L"|"*L"
---@return string? data, string? why
function File:read(what) end

---@param ... string|number
---@return true? done, string? why
function File:write(...) end

---@param position integer bytes from the beginning
---@return true? done, string? why
function File:seek(position) end

---@return true? done, string? why
function File:flush() end

---@return boolean wasopen
function File:close() end

-- ---- ba ----

ba = {}

---Waits; other scripts go on.
---@param milliseconds number
function ba.sleep(milliseconds) end

---A timer that calls `f` after each period for as long as it returns true. In `f`, `coroutine.yield(true)` waits for the
---next tick.
---@param f function
---@return smq.Timer
function ba.timer(f) end

---@class smq.Timer
local Timer = {}

---@param milliseconds number
---@param ref? boolean without effect: a timer that is set lives until it ends
---@param now? boolean the first call at once
function Timer:set(milliseconds, ref, now) end

---A new period, from now on; nil when the timer is not set.
---@param milliseconds number
---@return true?
function Timer:reset(milliseconds) end

---@return true?
function Timer:cancel() end

---`"home"`: the files of the working directory, `"disk"`: of the whole machine, `"vm"`: those of `/rtl/` that are part of the
---program, to be read only, `"net"`: those of web servers, to be read only, with URLs as paths; nil for anything else.
---@param name string
---@return smq.Io?
function ba.openio(name) end

---The files below a folder of `io`.
---@param io smq.Io
---@param folder string
---@return smq.Io? io, string? why
function ba.mkio(io, folder) end

---A page as Lua source, to be called with `_ENV, pathname, io, page, app`; nil and a reason when it is none.
---@param text string
---@return string? source, string? why
function ba.parselsp(text) end

---A session by its id.
---@param id string
---@return smq.Session?
function ba.session(id) end

---Runs a command line of the shell (needs --allow-exec): its output; or nil, status, output.
---@param command string
---@return string? output, integer|string? status, string? output
function ba.exec(command) end

---A program in a terminal (needs --allow-exec).
---@param conf? {async?: fun(pty: smq.Pty), stty?: string, arg0?: string, env?: table}
---@param program string
---@param ... string
---@return smq.Pty? pty, string? why
---@overload fun(program: string, ...: string): smq.Pty?, string?
function ba.forkpty(conf, program, ...) end

---@class smq.Pty
local Pty = {}

---Bytes, and whether they come from standard error; nil and `"timeout"` or `"terminated"`.
---@param wait? number|true milliseconds, or for ever
---@return string? data, boolean|string? isstderr
function Pty:read(wait) end

---@param data string
---@return true? done, string? why
function Pty:write(data) end

---@param rows integer
---@param columns integer
---@return true? done, string? why
function Pty:winsize(rows, columns) end

---Ends the program.
---@return boolean ended, integer? status
function Pty:terminate() end

---@return integer milliseconds that only ever grow
function ba.clock() end

---A point in time: `"NOW"`, `"MIN"`, `"MAX"`, RFC 3339 text, seconds since 1970, or a table of fields.
---@param what string|integer|table
---@param nanoseconds? integer
---@param offset? integer minutes from UTC
---@return smq.DateTime? moment, string? why
function ba.datetime(what, nanoseconds, offset) end

---Moments can be compared. The difference of two is in seconds; seconds, or a table of `days`, `hours`, `mins`, `secs` and
---`nsecs`, can be added and subtracted.
---@class smq.DateTime
---@operator add(number|table): smq.DateTime
---@operator sub(number|table): smq.DateTime
---@operator sub(smq.DateTime): number
local DateTime = {}

---Fields: year, month, day, hour, min, sec, nsec, offset, wday, yday.
---@param offset? integer minutes from UTC; the moment's own unless given
---@return table
function DateTime:date(offset) end

---Seconds since 1970, nanoseconds, and the offset in minutes from UTC.
---@return integer seconds, integer nanoseconds, integer offset
function DateTime:ticks() end

---RFC 3339 text.
---@param offset? integer minutes from UTC; the moment's own unless given
---@return string
function DateTime:tostring(offset) end

---A random integer from `lower` to `upper`, without them an unsigned one of 32 bits.
---@param lower integer
---@param upper integer
---@return integer
---@overload fun(): integer
function ba.rnd(lower, upper) end

---A random number of `n` bytes, 1 to 8.
---@param n integer
---@return integer
function ba.rnds(n) end

---A string of `n` random bytes.
---@param n integer
---@return string
function ba.rndbs(n) end

---@param text string
---@return string
function ba.b64encode(text) end

---@param text string
---@return string? bytes, string? why
function ba.b64decode(text) end

---@param text string
---@return string
function ba.b64urlencode(text) end

---@param text string
---@return string
function ba.urlencode(text) end

---@param text string
---@return string
function ba.urldecode(text) end

---A new key of 16 or 32 random bytes, or these bytes as a key.
---@param what? 16|32|string
---@return any key
function ba.aeskey(what) end

---The sealed text in URL-safe base64.
---@param key any
---@param text string
---@return string
function ba.aesencode(key, text) end

---@param key any
---@param sealed string
---@return string? text, string? why
function ba.aesdecode(key, sealed) end

ba.json = {}

---JSON's null in a decoded table, and for one to be encoded.
ba.json.null = nil

---A table as JSON; several are written one after the other.
---@param ... table
---@return string
function ba.json.encode(...) end

---Objects and arrays of the text, one value for each; nil and a reason when it is something else. Comments are allowed.
---@param text string
---@return table? value, string? why
function ba.json.decode(text) end

ba.crypto = {}

---A hash: `ba.crypto.hash("sha256")("data")(true, "hex")`. Names: md5, sha1, sha224, sha256, sha384, sha512.
---@param name string or `"hmac"`
---@param hmacname? string
---@param key? string
---@return fun(data: string|true, form?: "hex"|"binary"|"b64"|"b64url"): any
function ba.crypto.hash(name, hmacname, key) end

ba.thread = {}

---Starts `f()` soon; how many such jobs there are.
---@param f function
---@return integer
function ba.thread.run(f) end

---A queue whose jobs run one after the other.
---@return smq.Thread
function ba.thread.create() end

---@class smq.Thread
local Thread = {}

---@param f function
---@return integer
function Thread:run(f) end

ba.create = {}

---A directory; without a name a fallback of its parent.
---@param name? string|integer the name, or the priority of one without a name
---@param priority? integer -127 to 127, the highest is asked first
---@return smq.Dir
function ba.create.dir(name, priority) end

---Who may log in, as a function: it gets the name (and the password, if the client sent one) and returns the password,
---a table with its hash, or true; then the maximal number of sessions, whether the oldest gives way, and seconds of inactivity.
---@param f fun(name: string, password: string?, _ENV: table): string|table|boolean|nil, integer?, boolean?, integer?
---@return userdata
function ba.create.authuser(f) end

---Who may log in, as a table.
---@return smq.JsonUser
function ba.create.jsonuser() end

---@class smq.JsonUser
local JsonUser = {}

---Replaces all users. `pwd` is the password, or a table with the MD5 of `name:realm:password`; `recycle` ends the oldest
---session when there would be more than `maxusers`, otherwise the login is denied; `inactive` is in seconds.
---@param users table<string, {pwd: string|string[], roles: string|string[]|nil, maxusers: integer?, recycle: boolean?, inactive: integer?}>|string
function JsonUser:set(users) end

---Which roles may do what.
---@return smq.Authorizer
function JsonUser:authorizer() end

---@class smq.Authorizer
local Authorizer = {}

---`urls` are relative to the directory, with `*` for any text; what no constraint speaks of is allowed to nobody.
---@param constraints table<string, {urls: string[], methods: string[]?, roles: string[]}>|string
function Authorizer:set(constraints) end

---What a login page is told: the second argument of the function `response`, or the global `authinfo` of that page.
---@class smq.AuthInfo
---@field type "form"|"basic"|"digest"|"auth"|"dav" how the client is asked
---@field username? string who has just tried to log in
---@field password? string what was sent as the password
---@field upwd? string the user's true password, where it is known: for comparisons, never to be shown
---@field loginattempts integer failed attempts from this address of late; behind ten each one makes the next wait longer
---@field denied boolean the password was right, but the user has as many sessions as allowed
---@field seed? string for a form that hashes the password: new on each page, good for one login within 30 minutes
---@field seedkey? string goes back with the seed

---Asks clients who they are. `form`: the page that `response` writes posts `ba_username` and `ba_password` to any URL of
---the directory; a right one leads to that URL. Where there is no TLS, the page may send `ba_password2` in place of the
---password, with `ba_seed` and `ba_seedkey` from its `authinfo`: the HMAC-SHA-256 of the seed with the password as its key,
---in hexadecimal digits. The user's password itself must be known for that, as for `digest`. `auth` (if not given) shows a
---form to browsers, with the status 401 to what their pages load, and a challenge to programs; `dav` a challenge to all.
---A `response` that is text is the path of a page or file, from the app's root or, as `/...`, from the server's.
---@param users userdata|smq.JsonUser
---@param options? {type: "form"|"basic"|"digest"|"auth"|"dav"|nil, response: string|fun(_ENV: table, info: smq.AuthInfo)|nil, realm: string?}
---@return userdata
function ba.create.authenticator(users, options) end

---@param f fun(name: string, method: string, path: string, _ENV: table): boolean
---@return userdata
function ba.create.authorizer(f) end

---A place in the URL space.
---@class smq.Dir
local Dir = {}

---The function that answers; only the answer `false` passes the request on. Nil removes it.
---@param f (fun(_ENV: table, relpath: string): boolean?)?
function Dir:setfunc(f) end

---Mounts a directory below; without arguments mounts this one at the server's root. It stays until `unlink`.
---@param child? smq.Dir
---@param keep? boolean without effect
---@return boolean
function Dir:insert(child, keep) end

---Mounts a directory that is asked before files and pages.
---@param child smq.Dir
---@param keep? boolean without effect
---@return boolean
function Dir:insertprolog(child, keep) end

---@return boolean
function Dir:unlink() end

---The URL path, such as `"/name/"`.
---@return string
function Dir:baseuri() end

---The headers of everything below that does not set them itself.
---@param headers table<string, string>
function Dir:header(headers) end

---Lets only clients in whom the authenticator, and the authorizer if given, admits; nil admits everybody.
---@param authenticator userdata?
---@param authorizer? userdata|smq.Authorizer
function Dir:setauth(authenticator, authorizer) end

ba.socket = {}

---Connects by TCP, with `secure`, `trusted = true` or `ca` (in PEM form) by TLS. Then the server's certificate is checked, unless
---`trusted` is false. `timeout` is in milliseconds, 10000 unless given.
---@param host string
---@param port integer
---@param op? {secure?: boolean, trusted?: boolean, ca?: string, timeout?: integer}
---@return smq.Socket? socket, string? why, string? sentence
function ba.socket.connect(host, port, op) end

---The request's connection, as a WebSocket if the client asked for one; the page goes on without it. Nil and why when the
---response has begun or the client is gone.
---@param request smq.Request
---@return smq.Socket? socket, string? why
function ba.socket.req2sock(request) end

---The WebSocket that an HTTP client's request became, when its URL began with `ws:` or `wss:`; or nil, a word and a
---sentence, and the response can be read. The client is free for further requests.
---@param http smq.Httpc
---@return smq.Socket? socket, string? why, string? sentence
function ba.socket.http2sock(http) end

---Runs `f(...)` as a coroutine that may wait on sockets.
---@param f function
---@param ... any
function ba.socket.event(f, ...) end

---A number as `size` bytes, the most significant first.
---@param size integer 1 to 8
---@param number integer
---@return string
function ba.socket.h2n(size, number) end

---The unsigned number in `size` bytes.
---@param size integer 1 to 8
---@param data string
---@param position? integer from 1
---@return integer
function ba.socket.n2h(size, data, position) end

---@class smq.Socket
local Socket = {}

---Data, and of a WebSocket whether it is text; or nil and `"timeout"` or `"socketclosed"`.
---@param milliseconds? number
---@return string? data, boolean|string? istext, integer? code
function Socket:read(milliseconds) end

---Waits until there is room for the data, not until it is sent. True; or nil and `"socketclosed"`; or nil and `"overflow"`
---when the other end does not read and 1024 coroutines, or 16 MiB, wait for room already: the data is then lost.
---@param data string
---@param text? boolean a WebSocket's text message
---@return true? done, string? why
function Socket:write(data, text) end

---Runs `f(socket, ...)` as a coroutine and closes the socket when it returns.
---@param f function
---@param kind? "s"
---@param ... any
function Socket:event(f, kind, ...) end

---@return boolean wasopen
function Socket:close() end

---@return string? address, integer? port, boolean? isipv6
function Socket:peername() end

---@return string? address, integer? port, boolean? isipv6
function Socket:sockname() end

---@return boolean
function Socket:issecure() end

---@return boolean
function Socket:websocket() end

-- ---- mako ----

---The server around the scripts.
mako = {}

---From now on `require"a.b"` also finds `.lua/a/b.lua` in these files. All apps share what is loaded: of modules with the same
---name, each gets the one that was loaded first.
---@param io smq.Io
function mako.createloader(io) end

---Calls `f` when the server stops, by `os.exit`, too, behind every `onunload`; with false no longer.
---@param f function
---@param enable? boolean
function mako.onexit(f, enable) end

---The command line.
---@type string[]
mako.argv = {}

---The folder of the program.
---@type string
mako.execpath = nil

---The port for HTTP.
---@type integer
mako.port = nil

---The port for HTTPS.
---@type integer?
mako.sslport = nil

---What the configuration file says, with `host`, `port` and `sslport` as they are. Also `require"loadconf"`.
---@type table<string, any>
mako.conf = {}

---The `users` of the configuration, as `ba.create.jsonuser` keeps them; nil without any. `mako.udb()` gives the same.
---@type smq.JsonUser?
mako.udb = nil
